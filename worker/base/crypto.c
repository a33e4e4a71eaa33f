#include "worker/base/crypto.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>

/* OpenSSL keeps a queue of errors for each thread: the message quotes the first, and the queue is emptied. */
static enum err_code fail(struct err *err, enum err_code code, const char *what)
{
    char text[128] = "no reason given";
    unsigned long e = ERR_get_error();

    if (e)
        ERR_error_string_n(e, text, sizeof text);
    ERR_clear_error();
    return err_set(err, code, "crypto: %s: %s", what, text);
}

static bool span_fits(struct span s, size_t max)
{
    return s.len >= 1 && s.len <= max;
}

/* Checks the numbers before OpenSSL spends time on them. */
static enum err_code check_numbers(const BIGNUM *n, const BIGNUM *e, struct err *err)
{
    int bits = BN_num_bits(n);

    if (bits < CRYPTO_RSA_MIN_BITS || bits > CRYPTO_RSA_MAX_BITS)
        return err_set(err, ERR_INVALID, "crypto: an RSA modulus of %d bits, must be %d to %d", bits,
                       CRYPTO_RSA_MIN_BITS, CRYPTO_RSA_MAX_BITS);
    if (!BN_is_odd(n) || !BN_is_odd(e) || BN_is_one(e) || BN_num_bits(e) > 64)
        return err_set(err, ERR_INVALID, "crypto: the numbers are not an RSA modulus and exponent");
    return ERR_OK;
}

static EVP_PKEY *public_key(const BIGNUM *n, const BIGNUM *e)
{
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM *params = NULL;
    EVP_PKEY *key = NULL;

    if (!build || !ctx || OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) != 1 ||
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) != 1)
        goto out;
    params = OSSL_PARAM_BLD_to_param(build);
    if (!params || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
out:
    OSSL_PARAM_free(params);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_BLD_free(build);
    return key;
}

static bool check_key(EVP_PKEY *key, int (*check)(EVP_PKEY_CTX *))
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    bool good = ctx && check(ctx) == 1;

    EVP_PKEY_CTX_free(ctx);
    return good;
}

static enum err_code write_pem(EVP_PKEY *key, char ret[CRYPTO_PUBLIC_PEM_MAX], size_t *ret_len, struct err *err)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int n = bio && PEM_write_bio_PUBKEY(bio, key) == 1 ? BIO_read(bio, ret, CRYPTO_PUBLIC_PEM_MAX) : 0;
    bool whole = n > 0 && BIO_pending(bio) == 0;

    BIO_free(bio);
    if (!whole)
        return fail(err, ERR_NOMEM, "cannot write an RSA key as PEM");
    *ret_len = (size_t)n;
    return ERR_OK;
}

/* Reads n and e into a key, which the caller frees even after an error. */
static enum err_code read_public(const BIGNUM *n, const BIGNUM *e, EVP_PKEY **ret, struct err *err)
{
    if (!n || !e)
        return fail(err, ERR_NOMEM, "RSA key");
    TRY(check_numbers(n, e, err));
    *ret = public_key(n, e);
    if (!*ret || !check_key(*ret, EVP_PKEY_public_check))
        return fail(err, ERR_INVALID, "not a sound RSA key");
    return ERR_OK;
}

enum err_code crypto_rsa_public(struct span n, struct span e, char ret_pem[CRYPTO_PUBLIC_PEM_MAX], size_t *ret_pem_len,
                                size_t *ret_bytes, struct err *err)
{
    BIGNUM *bn_n, *bn_e;
    EVP_PKEY *key = NULL;
    enum err_code rc;

    if (!span_fits(n, CRYPTO_RSA_MAX_BITS / 8 + 1) || !span_fits(e, 9))
        return err_set(err, ERR_INVALID, "crypto: an RSA modulus of %zu bytes and an exponent of %zu", n.len, e.len);
    bn_n = BN_bin2bn((const unsigned char *)n.ptr, (int)n.len, NULL);
    bn_e = BN_bin2bn((const unsigned char *)e.ptr, (int)e.len, NULL);
    rc = read_public(bn_n, bn_e, &key, err);
    if (rc == ERR_OK) {
        *ret_bytes = (size_t)EVP_PKEY_get_size(key);
        rc = write_pem(key, ret_pem, ret_pem_len, err);
    }
    EVP_PKEY_free(key);
    BN_free(bn_e);
    BN_free(bn_n);
    return rc;
}

/* A key with a passphrase must not make the process ask for one on its terminal. */
static int no_passphrase(char *buf, int size, int writing, void *ctx)
{
    (void)buf, (void)size, (void)writing, (void)ctx;
    return -1;
}

static enum err_code check_private(EVP_PKEY *key, struct err *err)
{
    int bits = EVP_PKEY_get_bits(key);

    if (!EVP_PKEY_is_a(key, "RSA"))
        return err_set(err, ERR_INVALID, "crypto: the private key is not RSA");
    if (bits < CRYPTO_RSA_MIN_BITS || bits > CRYPTO_RSA_MAX_BITS)
        return err_set(err, ERR_INVALID, "crypto: an RSA key of %d bits, must be %d to %d", bits, CRYPTO_RSA_MIN_BITS,
                       CRYPTO_RSA_MAX_BITS);
    if (!check_key(key, EVP_PKEY_pairwise_check))
        return fail(err, ERR_INVALID, "not a sound RSA key");
    return ERR_OK;
}

enum err_code crypto_rsa_private(struct span pem, size_t *ret_bytes, struct err *err)
{
    BIO *bio = pem.len <= 1 << 20 ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    enum err_code rc;

    BIO_free(bio);
    if (!key)
        return fail(err, ERR_INVALID, "not a private key in PEM");
    rc = check_private(key, err);
    *ret_bytes = (size_t)EVP_PKEY_get_size(key);
    EVP_PKEY_free(key);
    return rc;
}

static enum err_code digest(const EVP_MD *md, struct span bytes, unsigned char *ret, struct err *err)
{
    unsigned n;

    if (EVP_Digest(bytes.ptr, bytes.len, ret, &n, md, NULL) != 1)
        return fail(err, ERR_UNSUPPORTED, "digest");
    return ERR_OK;
}

enum err_code crypto_sha256(struct span bytes, unsigned char ret[CRYPTO_SHA256_BYTES], struct err *err)
{
    return digest(EVP_sha256(), bytes, ret, err);
}

void crypto_sha256_text(const unsigned char digest[CRYPTO_SHA256_BYTES], char ret[CRYPTO_SHA256_TEXT_SIZE])
{
    for (size_t i = 0; i < CRYPTO_SHA256_BYTES; i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", digest[i]);
}

/* struct crypto_sha256 is OpenSSL's own, by another name. */
static EVP_MD_CTX *context(struct crypto_sha256 *s)
{
    return (EVP_MD_CTX *)s;
}

enum err_code crypto_sha256_new(struct crypto_sha256 **ret, struct err *err)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();

    if (!c || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(c);
        return fail(err, ERR_NOMEM, "digest");
    }
    *ret = (struct crypto_sha256 *)c;
    return ERR_OK;
}

enum err_code crypto_sha256_add(struct crypto_sha256 *s, struct span bytes, struct err *err)
{
    return EVP_DigestUpdate(context(s), bytes.ptr, bytes.len) == 1 ? ERR_OK : fail(err, ERR_INTERNAL, "digest");
}

enum err_code crypto_sha256_end(struct crypto_sha256 *s, unsigned char ret[CRYPTO_SHA256_BYTES], struct err *err)
{
    return EVP_DigestFinal_ex(context(s), ret, NULL) == 1 ? ERR_OK : fail(err, ERR_INTERNAL, "digest");
}

void crypto_sha256_free(struct crypto_sha256 *s)
{
    EVP_MD_CTX_free(context(s));
}

enum err_code crypto_md5(struct span bytes, unsigned char ret[CRYPTO_MD5_BYTES], struct err *err)
{
    return digest(EVP_md5(), bytes, ret, err);
}

void crypto_clear(void *bytes, size_t n)
{
    OPENSSL_cleanse(bytes, n);
}

void crypto_forget_errors(void)
{
    ERR_clear_error();
}
