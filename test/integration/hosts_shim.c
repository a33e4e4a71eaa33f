/*
 * hosts_shim - keeps a program under test on this machine: LD_PRELOAD=build/hosts-shim.so, test only.
 *
 * HOSTS_SHIM="name=port,name=port,..." lists the host names that there are. The n-th of them resolves to 127.77.0.n,
 * and a connection to that address, whatever its port, leads to the port given on 127.0.0.1. No other name resolves, no
 * other address but loopback can be reached, and a server listens on loopback only. The program itself needs no switch
 * for it.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum { MAPPED_NET = 127 << 24 | 77 << 16, MAPPED_MASK = 0xFFFFFF00, LOOPBACK_MASK = 0xFF000000, HOSTS_MAX = 250 };

/* One entry of HOSTS_SHIM. */
struct entry {
    const char *name;
    size_t name_len;
    int port;
};

/* Returns the text after the entry, or NULL after the last. */
static const char *next_entry(const char *at, struct entry *ret)
{
    size_t len = at ? strcspn(at, ",") : 0;
    const char *equals = len ? memchr(at, '=', len) : NULL;

    if (!equals)
        return NULL;
    *ret = (struct entry){ at, (size_t)(equals - at), atoi(equals + 1) };
    return at + len + (at[len] == ',');
}

/* The number of a name in HOSTS_SHIM, from 1; 0: it is not there. */
static int number_of(const char *name)
{
    const char *at = getenv("HOSTS_SHIM");
    struct entry e;

    for (int n = 1; n <= HOSTS_MAX && (at = next_entry(at, &e)); n++)
        if (strlen(name) == e.name_len && strncasecmp(name, e.name, e.name_len) == 0)
            return n;
    return 0;
}

/* The port of the n-th name, or 0. */
static int port_of(int number)
{
    const char *at = getenv("HOSTS_SHIM");
    struct entry e;

    for (int n = 1; n <= HOSTS_MAX && (at = next_entry(at, &e)); n++)
        if (n == number)
            return e.port;
    return 0;
}

static int is_loopback_literal(const char *name)
{
    struct in_addr v4;

    return strcmp(name, "localhost") == 0 || strcmp(name, "::1") == 0 ||
           (inet_pton(AF_INET, name, &v4) == 1 && (ntohl(v4.s_addr) & LOOPBACK_MASK) == 127u << 24);
}

int getaddrinfo(const char *restrict name, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict ret)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(RTLD_NEXT,
                                                                                                "getaddrinfo");
    char address[INET_ADDRSTRLEN];
    int number;

    if (!name || is_loopback_literal(name))
        return real(name, service, hints, ret);
    number = number_of(name);
    if (!number)
        return EAI_NONAME;
    (void)snprintf(address, sizeof address, "127.77.0.%d", number);
    return real(address, service, hints, ret);
}

int connect(int fd, const struct sockaddr *to, socklen_t len)
{
    int (*real)(int, const struct sockaddr *, socklen_t) =
        (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
    struct sockaddr_in v4;
    in_addr_t host;

    if (to->sa_family != AF_INET && to->sa_family != AF_INET6)
        return real(fd, to, len);
    if (to->sa_family == AF_INET6 || len < sizeof v4) {
        errno = ENETUNREACH;
        return -1;
    }
    memcpy(&v4, to, sizeof v4);
    host = ntohl(v4.sin_addr.s_addr);
    if ((host & LOOPBACK_MASK) != 127u << 24) {
        errno = ENETUNREACH;
        return -1;
    }
    if ((host & MAPPED_MASK) == MAPPED_NET) {
        v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        v4.sin_port = htons((uint16_t)port_of((int)(host & ~MAPPED_MASK)));
    }
    return real(fd, (const struct sockaddr *)&v4, sizeof v4);
}

int bind(int fd, const struct sockaddr *at, socklen_t len)
{
    int (*real)(int, const struct sockaddr *, socklen_t) =
        (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "bind");
    struct sockaddr_in v4;

    if (at->sa_family != AF_INET || len < sizeof v4)
        return real(fd, at, len);
    memcpy(&v4, at, sizeof v4);
    if (v4.sin_addr.s_addr == htonl(INADDR_ANY))
        v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return real(fd, (const struct sockaddr *)&v4, sizeof v4);
}
