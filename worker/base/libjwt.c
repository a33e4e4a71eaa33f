#include "worker/base/libjwt.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <jwt.h>

#include "kernels/base/base64.h"
#include "worker/base/crypto.h"

static const char algorithm[] = "RS256";

struct libjwt_key {
    atomic_int owners;
    size_t bytes; /* of the modulus */
    char *pem;    /* not NUL-terminated, never empty */
    size_t pem_len;
    size_t locked_size; /* of the pages at pem; 0: pem is from malloc, and public */
};

/* ---- keys ---- */

/* Pages of their own: locking and leaving out of core dumps work on whole pages. Both may be forbidden here, as in a
 * container with a small RLIMIT_MEMLOCK; the key is then as well kept as the rest of the process. */
static char *secret_pages(size_t size)
{
    char *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (pages == MAP_FAILED)
        return NULL;
    (void)mlock(pages, size);
    (void)madvise(pages, size, MADV_DONTDUMP);
    return pages;
}

static size_t whole_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (size + page - 1) / page * page;
}

static enum err_code key_new(struct span pem, size_t bytes, size_t locked_size, struct libjwt_key **ret,
                             struct err *err)
{
    struct libjwt_key *key = calloc(1, sizeof *key);

    if (!key)
        return err_set(err, ERR_NOMEM, "jwt: no memory for a key");
    *key = (struct libjwt_key){ .owners = 1, .bytes = bytes, .pem_len = pem.len, .locked_size = locked_size };
    key->pem = locked_size ? secret_pages(locked_size) : malloc(pem.len);
    if (!key->pem) {
        free(key);
        return err_set(err, ERR_NOMEM, "jwt: no memory for a key");
    }
    memcpy(key->pem, pem.ptr, pem.len);
    *ret = key;
    return ERR_OK;
}

enum err_code libjwt_key_public(struct span n, struct span e, struct libjwt_key **ret, struct err *err)
{
    char pem[CRYPTO_PUBLIC_PEM_MAX];
    struct span text = { pem, 0 };
    size_t bytes;

    TRY(crypto_rsa_public(n, e, pem, &text.len, &bytes, err));
    return key_new(text, bytes, 0, ret, err);
}

enum err_code libjwt_key_private(struct span pem, struct libjwt_key **ret, struct err *err)
{
    size_t bytes;

    if (pem.len > LIBJWT_PEM_MAX)
        return err_set(err, ERR_INVALID, "jwt: a private key of %zu bytes, must be at most %d", pem.len,
                       LIBJWT_PEM_MAX);
    TRY(crypto_rsa_private(pem, &bytes, err));
    return key_new(pem, bytes, whole_pages(pem.len), ret, err);
}

struct libjwt_key *libjwt_key_ref(struct libjwt_key *key)
{
    key->owners++;
    return key;
}

void libjwt_key_free(struct libjwt_key *key)
{
    if (!key || --key->owners)
        return;
    crypto_clear(key->pem, key->pem_len);
    if (key->locked_size)
        (void)munmap(key->pem, key->locked_size);
    else
        free(key->pem);
    free(key);
}

size_t libjwt_key_bytes(const struct libjwt_key *key)
{
    return key->bytes;
}

static const unsigned char *pem_of(const struct libjwt_key *key)
{
    return (const unsigned char *)key->pem;
}

/* ---- verifying ---- */

/* The third of exactly three parts of base64url; an empty span if the token is not that. */
static struct span signature_of(struct span token)
{
    struct span nothing = { token.ptr, 0 }, last = token;
    int dots = 0;

    for (size_t i = 0; i < token.len; i++) {
        if (token.ptr[i] == '.') {
            if (last.ptr == token.ptr + i)
                return nothing; /* the part before this dot is empty */
            last = (struct span){ token.ptr + i + 1, token.len - i - 1 };
            dots++;
        } else if (!base64_is_url(token.ptr[i])) {
            return nothing;
        }
    }
    return dots == 2 ? last : nothing;
}

/* RFC 8017 8.2.2 step 1: a signature is exactly as long as the modulus. Its base64url has one spelling. */
static bool has_whole_signature(const struct libjwt_key *key, struct span token)
{
    char bytes[CRYPTO_SIGNATURE_MAX];
    size_t n;

    return !base64_decode(signature_of(token), BASE64_URL | BASE64_NO_PADDING, bytes, sizeof bytes, &n, NULL) &&
           n == key->bytes;
}

static bool is_rs256(jwt_t *jwt)
{
    const char *alg = jwt_get_header(jwt, "alg");

    return jwt_get_alg(jwt) == JWT_ALG_RS256 && alg && strcmp(alg, algorithm) == 0;
}

enum err_code libjwt_verify(const struct libjwt_key *key, struct span token, struct err *err)
{
    char text[LIBJWT_TOKEN_MAX + 1];
    jwt_t *jwt = NULL;
    bool good;
    int why;

    if (token.len > LIBJWT_TOKEN_MAX || !has_whole_signature(key, token))
        return err_set(err, ERR_DENIED, "jwt: not three parts of base64url with a signature of %zu bytes", key->bytes);
    memcpy(text, token.ptr, token.len);
    text[token.len] = 0;
    why = jwt_decode(&jwt, text, pem_of(key), (int)key->pem_len);
    good = !why && jwt && is_rs256(jwt);
    jwt_free(jwt);
    crypto_forget_errors();
    if (why == ENOMEM)
        return err_set(err, ERR_NOMEM, "jwt: no memory to verify a token");
    return good ? ERR_OK : err_set(err, ERR_DENIED, "jwt: the token has no RS256 signature of this key");
}

/* ---- signing ---- */

static int add_claims(jwt_t *jwt, const char *key_id, const struct libjwt_claim *claims, int n_claims)
{
    int why = *key_id ? jwt_add_header(jwt, "kid", key_id) : 0;

    for (int i = 0; i < n_claims && !why; i++)
        why = claims[i].text ? jwt_add_grant(jwt, claims[i].name, claims[i].text)
                             : jwt_add_grant_int(jwt, claims[i].name, (long)claims[i].number);
    return why;
}

/* Copies a token out of libjwt, overwrites it there and frees it: whoever holds it may act as the account. */
static enum err_code take_token(char *token, char *ret, size_t size, struct err *err)
{
    size_t n = strlen(token);
    enum err_code rc = ERR_OK;

    if (n >= size)
        rc = err_set(err, ERR_TOO_LARGE, "jwt: a token of %zu bytes, must be less than %zu", n, size);
    else
        memcpy(ret, token, n + 1);
    crypto_clear(token, n);
    free(token);
    return rc;
}

static enum err_code sign_with(jwt_t *jwt, const struct libjwt_key *key, char *ret, size_t size, struct err *err)
{
    int why = jwt_set_alg(jwt, JWT_ALG_RS256, pem_of(key), (int)key->pem_len);
    char *token = why ? NULL : jwt_encode_str(jwt);

    if (!token)
        return err_set(err, ERR_INTERNAL, "jwt: libjwt cannot sign: %s", strerror(why ? why : errno));
    return take_token(token, ret, size, err);
}

enum err_code libjwt_sign(const struct libjwt_key *key, const char *key_id, const struct libjwt_claim *claims,
                          int n_claims, char *ret, size_t size, struct err *err)
{
    jwt_t *jwt = NULL;
    enum err_code rc;
    int why = jwt_new(&jwt);

    if (why)
        return err_set(err, ERR_NOMEM, "jwt: no memory for a token");
    why = add_claims(jwt, key_id, claims, n_claims);
    if (why)
        rc = err_set(err, ERR_INTERNAL, "jwt: libjwt does not take a claim: %s", strerror(why));
    else
        rc = sign_with(jwt, key, ret, size, err);
    jwt_free(jwt); /* overwrites its copy of the key */
    crypto_forget_errors();
    return rc;
}
