#include "worker/remote/remote.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/file.h"
#include "worker/base/crypto.h"
#include "worker/base/names.h"

enum {
    ARENA_BYTES = 512 << 20, /* address space */
    SECRETS_BYTES = 1 << 20,
    TOKEN_FILE_MAX = 16 << 10,
    METADATA_MS = 20000
};

enum err_code remote_open(struct remote *r, struct err *err)
{
    TRY(arena_init(&r->arena, ARENA_BYTES, err));
    TRY(arena_init(&r->secrets, SECRETS_BYTES, err));
    return http_client_open(&r->http, err);
}

void remote_close(struct remote *r)
{
    gauth_close(r->gauth);
    http_client_close(r->http);
    if (r->secrets.base)
        crypto_clear(r->secrets.base, r->secrets.used);
    arena_done(&r->secrets);
    arena_done(&r->arena);
}

/* ---- where to ---- */

enum err_code remote_check_url(const char *option, const char *url, struct arena *a, const char **ret, struct err *err)
{
    const char *host = strstr(url, "://");
    size_t n;
    char *with_path;

    if (!host || url[strspn(url, "!\"#$%&'()*+,-./0123456789:;<=>?@[\\]_~"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")])
        return err_set(err, ERR_INVALID, "%s '%.200s' is not a URL: https://HOST/, or http://127.0.0.1:PORT/", option,
                       url);
    host += 3;
    n = strcspn(host, "/?#");
    if (n == 0 || memchr(host, '@', n)) /* which may be a password, so the URL is not quoted */
        return err_set(err, ERR_INVALID, "%s has no host, or a user before it", option);
    if (strncmp(url, "https://", 8) != 0 && !is_loopback_url(url))
        return err_set(err, ERR_INVALID, "%s '%.200s' is neither https nor http on this machine", option, url);
    if (host[n])
        return span_dup(a, span_of(url), (char **)ret, err);
    TRY(arena_printf(a, &with_path, err, "%s/", url));
    *ret = with_path;
    return ERR_OK;
}

/* ---- texts ---- */

enum err_code remote_read_text(const char *path, size_t max_bytes, struct arena *a, struct span *ret, struct err *err)
{
    char *buf;
    size_t n;

    if (strcmp(path, "-") != 0)
        return file_read(path, max_bytes, a, ret, err);
    TRY(arena_alloc(a, max_bytes + 2, 1, &buf, err));
    n = fread(buf, 1, max_bytes + 1, stdin);
    if (ferror(stdin))
        return err_set(err, ERR_IO, "standard input cannot be read");
    *ret = (struct span){ buf, n };
    return ERR_OK;
}

/* ---- the token ---- */

static bool is_token(const char *text)
{
    size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=");

    return n > 0 && !text[n];
}

static enum err_code read_token(const char *path, struct arena *a, char **ret, struct err *err)
{
    struct span text;
    char *token;

    TRY(remote_read_text(path, TOKEN_FILE_MAX, a, &text, err));
    while (text.len && isspace((unsigned char)text.ptr[text.len - 1]))
        text.len--;
    TRY(span_dup(a, text, &token, err));
    if (!is_token(token) || strlen(token) != text.len || text.len > TOKEN_FILE_MAX)
        return err_set(err, ERR_INVALID, "%s: not a token: one line of letters, digits and -._~+/=",
                       strcmp(path, "-") == 0 ? "standard input" : path);
    *ret = token;
    return ERR_OK;
}

static enum err_code fetch_token(struct remote *r, const char *audience, char **ret, struct err *err)
{
    const struct budget budget = { .sys = &sys_real, .deadline_mono_ms = sys_mono_ms(&sys_real) + METADATA_MS };
    const struct gauth_options options = { .http = r->http,
                                           .sys = &sys_real,
                                           .metadata_host = getenv("GCE_METADATA_HOST") };

    TRY(gauth_open(&options, &r->gauth, err));
    if (gauth_identity(r->gauth, audience, &budget, &r->secrets, ret, err))
        return err_prefix(err, "--audience");
    return is_token(*ret) ? ERR_OK : err_set(err, ERR_PROTOCOL, "--audience: the answer is not a token");
}

enum err_code remote_authorize(struct remote *r, const char *token_file, const char *audience, struct err *err)
{
    char *token;

    if (!token_file && !audience)
        return ERR_OK;
    if (token_file)
        TRY(read_token(token_file, &r->secrets, &token, err));
    else
        TRY(fetch_token(r, audience, &token, err));
    return arena_printf(&r->secrets, &r->authorization, err, "Bearer %s", token);
}
