#include "worker/http/egress.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/base/names.h"

static const char *const proxy_names[] = { "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL };
static const char *const no_proxy_names[] = { "no_proxy", "NO_PROXY", NULL };

static const char *setting(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

/* The first of the variables that is set, and its name. */
static const char *first_of(const char *const *names, const char **ret_name)
{
    for (; *names; names++)
        if (setting(*names)) {
            *ret_name = *names;
            return setting(*names);
        }
    return NULL;
}

static enum err_code keep(const char *text, char **ret, struct err *err)
{
    *ret = strdup(text);
    return *ret ? ERR_OK : err_set(err, ERR_NOMEM, "http: no memory");
}

/* ---- authorities ---- */

static bool holds_certificate(FILE *f)
{
    char line[256];

    while (fgets(line, sizeof line, f))
        if (strncmp(line, "-----BEGIN ", 11) == 0 && strstr(line, "CERTIFICATE-----"))
            return true;
    return false;
}

static enum err_code read_ca_file(struct egress *e, struct err *err)
{
    const char *path = setting("SSL_CERT_FILE");
    enum err_code rc;
    struct stat st;
    bool good;
    FILE *f;
    int fd;

    if (!path)
        return ERR_OK;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer would keep us waiting */
    f = fd < 0 ? NULL : fdopen(fd, "r");
    if (!f) {
        rc = err_set(err, ERR_INVALID,
                     "SSL_CERT_FILE: '%.100s' cannot be read (%s): name a PEM file of authorities, or unset it", path,
                     strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return rc;
    }
    good = fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) && holds_certificate(f);
    (void)fclose(f);
    if (!good)
        return err_set(err, ERR_INVALID,
                       "SSL_CERT_FILE: '%.100s' holds no certificate: name a PEM file of authorities, or unset it",
                       path);
    return keep(path, &e->ca_file, err);
}

/* OpenSSL finds a certificate by the hash of its subject alone: eight hexadecimal digits, a dot, a number. */
static bool is_hashed_name(const char *name)
{
    return strspn(name, "0123456789abcdef") == 8 && name[8] == '.' && name[9] &&
           name[9 + strspn(name + 9, "0123456789")] == 0;
}

static bool has_hashed_name(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    bool found = false;

    if (!dir)
        return false;
    while (!found && (entry = readdir(dir)))
        found = is_hashed_name(entry->d_name);
    (void)closedir(dir);
    return found;
}

/* A list of folders with colons between them, as OpenSSL takes it; one of them is enough. */
static enum err_code read_ca_dir(struct egress *e, struct err *err)
{
    const char *list = setting("SSL_CERT_DIR");
    char path[4096];

    for (const char *p = list; p && *p; p += strcspn(p, ":"), p += *p == ':') {
        (void)snprintf(path, sizeof path, "%.*s", (int)strcspn(p, ":"), p);
        if (has_hashed_name(path))
            return keep(list, &e->ca_dir, err);
    }
    if (!list)
        return ERR_OK;
    return err_set(err, ERR_INVALID,
                   "SSL_CERT_DIR: '%.60s' has no certificate under the name of its hash (as 0a1b2c3d.0): run "
                   "`openssl rehash` on it, or name a PEM file in SSL_CERT_FILE",
                   list);
}

/* ---- the proxy ---- */

/* What libcurl reads as a user and a password, in which the rest has to be percent-encoded. */
static bool is_user(const char *text, const char *end)
{
    for (const char *p = text; p < end; p++)
        if (strchr("@/?#\\", *p) || (*p == '%' && (p[1] == '0' || p[1] == '1')))
            return false;
    return true;
}

/* [scheme://][user[:password]@]host[:port][/] */
static bool is_proxy(const char *text)
{
    static const char *const schemes[] = { "http", "https", "socks5", "socks5h", "socks4", "socks4a" };
    const char *colon = strstr(text, "://"), *at;
    bool good = !colon;
    char host[300];
    size_t n;

    for (const char *p = text; *p; p++)
        if (*p <= ' ' || *p >= 0x7F)
            return false;
    for (size_t i = 0; colon && i < sizeof schemes / sizeof *schemes; i++)
        good = good || (strlen(schemes[i]) == (size_t)(colon - text) &&
                        strncasecmp(text, schemes[i], (size_t)(colon - text)) == 0);
    text = colon ? colon + 3 : text;
    at = strrchr(text, '@');
    good = good && (!at || is_user(text, at));
    text = at ? at + 1 : text;
    n = strlen(text);
    n -= n && text[n - 1] == '/';
    (void)snprintf(host, sizeof host, "%.*s", (int)(n < sizeof host ? n : 0), text);
    return good && host_is_valid(host);
}

/* What never takes the proxy: this machine, the metadata server, and the hosts that the environment lists. */
static enum err_code read_no_proxy(char **ret, struct err *err)
{
    static const char ours[] = "localhost,127.0.0.1,127.0.0.0/8,::1,metadata.google.internal,metadata,169.254.169.254";
    const char *name = NULL, *theirs = first_of(no_proxy_names, &name);

    if (theirs && theirs[strspn(theirs, " \t")] == '*' && strspn(theirs, " \t*") == strlen(theirs))
        return keep("*", ret, err);
    if (asprintf(ret, "%s%s%s", ours, theirs ? "," : "", theirs ? theirs : "") >= 0)
        return ERR_OK;
    *ret = NULL;
    return err_set(err, ERR_NOMEM, "http: no memory");
}

static enum err_code read_proxy(struct egress *e, struct err *err)
{
    const char *name = NULL, *value = first_of(proxy_names, &name);

    if (!value)
        return ERR_OK;
    if (!is_proxy(value))
        return err_set(
            err, ERR_INVALID,
            "%s: this is not the URL of a proxy, such as http://proxy.example:3128; in a password @ / ? # are "
            "written %%40 %%2F %%3F %%23 (the value is not shown here, since it may hold one)",
            name);
    TRY(keep(value, &e->proxy, err));
    return read_no_proxy(&e->no_proxy, err);
}

static enum err_code (*const readers[])(struct egress *, struct err *) = { read_ca_file, read_ca_dir, read_proxy };
enum { N_READERS = sizeof readers / sizeof *readers };

enum err_code egress_read(struct egress *ret, struct err *err)
{
    *ret = (struct egress){ 0 };
    for (int i = 0; i < N_READERS; i++)
        TRY(readers[i](ret, err));
    return ERR_OK;
}

int egress_problems(void (*report)(void *ctx, const char *problem), void *ctx)
{
    struct egress e = { 0 };
    int n = 0;

    for (int i = 0; i < N_READERS; i++) {
        struct err why = { 0 };

        if (!readers[i](&e, &why))
            continue;
        report(ctx, why.msg);
        n++;
    }
    egress_done(&e);
    return n;
}

void egress_done(struct egress *e)
{
    free(e->ca_file);
    free(e->ca_dir);
    free(e->proxy);
    free(e->no_proxy);
    *e = (struct egress){ 0 };
}
