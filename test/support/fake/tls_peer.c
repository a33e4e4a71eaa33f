#include "test/support/fake/tls_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "test/support/check.h"

enum { DAY_S = 86400, SILENCE_S = 5, TEXT_BYTES = 16384 };

struct tls_peer {
    struct tls_peer_options options;
    int fd, port;
    pthread_t acceptor;
    pthread_mutex_t lock;
    bool closing;
    int connection; /* the one that is served now; -1: none */
    SSL_CTX *tls;
    char connects[TEXT_BYTES], requests[TEXT_BYTES];
    char proxy[64], folder[64], authority[128];
};

/* ---- certificates ---- */

static void extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    CHECK(ext && X509_add_ext(cert, ext, -1) == 1);
    X509_EXTENSION_free(ext);
}

static void name(X509_NAME *n, const char *text)
{
    CHECK(X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_ASC, (const unsigned char *)text, -1, -1, 0) == 1);
}

/* Without an issuer: an authority, which signs itself. */
static X509 *certify(EVP_PKEY *key, const char *host, X509 *issuer, EVP_PKEY *issuer_key,
                     const struct tls_peer_options *o)
{
    X509 *cert = X509_new();
    char names[300];
    bool is_address = host[strspn(host, "0123456789.")] == 0;

    CHECK(cert && X509_set_version(cert, 2) == 1 && X509_set_pubkey(cert, key) == 1);
    CHECK(ASN1_INTEGER_set(X509_get_serialNumber(cert), issuer ? 2 : 1) == 1);
    CHECK(X509_gmtime_adj(X509_getm_notBefore(cert), issuer ? (long)o->from_days * DAY_S - 2 * DAY_S : -3 * DAY_S));
    CHECK(X509_gmtime_adj(X509_getm_notAfter(cert), issuer ? ((long)o->from_days + o->days) * DAY_S : 9 * DAY_S));
    name(X509_get_subject_name(cert), host);
    if (issuer)
        CHECK(X509_set_issuer_name(cert, X509_get_subject_name(issuer)) == 1);
    else
        name(X509_get_issuer_name(cert), host);
    extend(cert, issuer ? issuer : cert, NID_basic_constraints, issuer ? "critical,CA:FALSE" : "critical,CA:TRUE");
    (void)snprintf(names, sizeof names, "%s:%s", is_address ? "IP" : "DNS", host);
    if (issuer)
        extend(cert, issuer, NID_subject_alt_name, names);
    CHECK(X509_sign(cert, issuer ? issuer_key : key, EVP_sha256()) > 0);
    return cert;
}

static void write_authority(struct tls_peer *p, X509 *authority)
{
    char hashed[128];
    FILE *f;

    (void)snprintf(p->folder, sizeof p->folder, "/tmp/tls-peer-XXXXXX");
    CHECK(mkdtemp(p->folder));
    (void)snprintf(p->authority, sizeof p->authority, "%s/authority.pem", p->folder);
    (void)snprintf(hashed, sizeof hashed, "%s/%08lx.0", p->folder, X509_subject_name_hash(authority));
    f = fopen(p->authority, "w");
    CHECK(f && PEM_write_X509(f, authority) == 1 && fclose(f) == 0);
    CHECK(link(p->authority, hashed) == 0);
}

static void remove_authority(const struct tls_peer *p, X509 *authority)
{
    char hashed[128];

    (void)snprintf(hashed, sizeof hashed, "%s/%08lx.0", p->folder, X509_subject_name_hash(authority));
    (void)unlink(hashed);
    (void)unlink(p->authority);
    (void)rmdir(p->folder);
}

/* Whoever offers HTTP/2 is taken at its word, and not understood. */
static int choose_protocol(SSL *tls, const unsigned char **ret, unsigned char *ret_n, const unsigned char *offered,
                           unsigned n, void *ctx)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";

    (void)tls, (void)ctx;
    return SSL_select_next_proto((unsigned char **)ret, ret_n, ours, sizeof ours - 1, offered, n) ==
                   OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_NOACK;
}

static void set_up_tls(struct tls_peer *p)
{
    EVP_PKEY *authority_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
    X509 *authority = certify(authority_key, "authority of a test", NULL, NULL, &p->options);
    X509 *cert = certify(key, p->options.host, authority, authority_key, &p->options);

    p->tls = SSL_CTX_new(TLS_server_method());
    CHECK(p->tls && SSL_CTX_use_certificate(p->tls, cert) == 1 && SSL_CTX_use_PrivateKey(p->tls, key) == 1);
    CHECK(SSL_CTX_add0_chain_cert(p->tls, authority) == 1);
    SSL_CTX_set_alpn_select_cb(p->tls, choose_protocol, NULL);
    write_authority(p, authority);
    X509_free(cert);
    EVP_PKEY_free(key);
    EVP_PKEY_free(authority_key);
}

/* ---- connections ---- */

/* Adds one head, which ends with an empty line, to a text. */
static void keep(struct tls_peer *p, char *text, const char *head)
{
    size_t n = strlen(text);

    (void)pthread_mutex_lock(&p->lock);
    (void)snprintf(text + n, TEXT_BYTES - n, "%s", head);
    (void)pthread_mutex_unlock(&p->lock);
}

static int read_byte(int fd, SSL *tls, char *ret)
{
    return tls ? SSL_read(tls, ret, 1) : (int)recv(fd, ret, 1, 0);
}

static bool read_head(int fd, SSL *tls, char *head, size_t size)
{
    size_t n = 0;

    while (n + 1 < size && read_byte(fd, tls, head + n) == 1) {
        head[++n] = 0;
        if (n >= 4 && strcmp(head + n - 4, "\r\n\r\n") == 0)
            return true;
    }
    return false;
}

/* true: the client goes on as if it had connected to the host itself. */
static bool connect_through(struct tls_peer *p, int fd)
{
    const char *status = p->options.proxy_status ? p->options.proxy_status : "200 Connection established";
    char head[4096], answer[256], first;

    if (recv(fd, &first, 1, MSG_PEEK) != 1)
        return false;
    if (first != 'C') /* the first byte of a TLS handshake is 0x16 */
        return true;
    if (!read_head(fd, NULL, head, sizeof head))
        return false;
    keep(p, p->connects, head);
    (void)snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\nX-Proxy: this one\r\n%s\r\n", status,
                   p->options.proxy_status ? "Content-Length: 0\r\n" : "");
    return send(fd, answer, strlen(answer), MSG_NOSIGNAL) > 0 && !p->options.proxy_status;
}

static void serve(struct tls_peer *p, int fd)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    struct timeval silence = { .tv_sec = SILENCE_S };
    char head[8192];
    SSL *tls;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    if (!connect_through(p, fd))
        return;
    tls = SSL_new(p->tls);
    if (tls && SSL_set_fd(tls, fd) == 1 && SSL_accept(tls) == 1 && read_head(fd, tls, head, sizeof head)) {
        keep(p, p->requests, head);
        (void)SSL_write(tls, answer, sizeof answer - 1);
        (void)SSL_shutdown(tls);
    }
    SSL_free(tls);
}

static void *accept_connections(void *arg)
{
    struct tls_peer *p = arg;

    for (;;) {
        int fd = accept(p->fd, NULL, NULL);

        (void)pthread_mutex_lock(&p->lock);
        p->connection = p->closing ? -1 : fd;
        (void)pthread_mutex_unlock(&p->lock);
        if (fd >= 0 && p->connection == fd)
            serve(p, fd);
        (void)pthread_mutex_lock(&p->lock);
        p->connection = -1;
        (void)pthread_mutex_unlock(&p->lock);
        if (fd < 0)
            return NULL;
        (void)close(fd);
    }
}

struct tls_peer *tls_peer_open(const struct tls_peer_options *options)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof addr;
    struct tls_peer *p = calloc(1, sizeof *p);

    CHECK(p);
    p->options = *options;
    p->connection = -1;
    (void)pthread_mutex_init(&p->lock, NULL);
    set_up_tls(p);
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(p->fd >= 0 && bind(p->fd, (struct sockaddr *)&addr, sizeof addr) == 0 && listen(p->fd, 16) == 0);
    CHECK(getsockname(p->fd, (struct sockaddr *)&addr, &size) == 0);
    p->port = ntohs(addr.sin_port);
    (void)snprintf(p->proxy, sizeof p->proxy, "http://127.0.0.1:%d", p->port);
    CHECK(pthread_create(&p->acceptor, NULL, accept_connections, p) == 0);
    return p;
}

void tls_peer_close(struct tls_peer *p)
{
    STACK_OF(X509) *chain = NULL;

    if (!p)
        return;
    (void)pthread_mutex_lock(&p->lock);
    p->closing = true;
    if (p->connection >= 0)
        (void)shutdown(p->connection, SHUT_RDWR);
    (void)pthread_mutex_unlock(&p->lock);
    (void)shutdown(p->fd, SHUT_RDWR);
    (void)pthread_join(p->acceptor, NULL);
    (void)close(p->fd);
    CHECK(SSL_CTX_get0_chain_certs(p->tls, &chain) == 1);
    remove_authority(p, sk_X509_value(chain, 0));
    SSL_CTX_free(p->tls);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

int tls_peer_port(const struct tls_peer *p)
{
    return p->port;
}

const char *tls_peer_proxy(const struct tls_peer *p)
{
    return p->proxy;
}

const char *tls_peer_authority(const struct tls_peer *p)
{
    return p->authority;
}

const char *tls_peer_folder(const struct tls_peer *p)
{
    return p->folder;
}

/* A text only grows, and a client that has its answer sees what was kept before that. */
const char *tls_peer_connects(struct tls_peer *p)
{
    (void)pthread_mutex_lock(&p->lock);
    (void)pthread_mutex_unlock(&p->lock);
    return p->connects;
}

const char *tls_peer_request(struct tls_peer *p)
{
    (void)pthread_mutex_lock(&p->lock);
    (void)pthread_mutex_unlock(&p->lock);
    return p->requests;
}
