#include "test/support/fake/keys.h"

#include <stdlib.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "kernels/base/base64.h"
#include "test/support/check.h"

struct slot {
    struct test_key key;
    EVP_PKEY *pkey;
    int which;
};

static struct slot slots[16];
static int n_slots;

static void free_slots(void)
{
    while (n_slots)
        EVP_PKEY_free(slots[--n_slots].pkey);
}

size_t test_base64url(struct span bytes, char *ret, size_t size)
{
    size_t n;

    CHECK_INT(base64_encode(bytes, BASE64_URL | BASE64_NO_PADDING, ret, size, &n, NULL), ERR_OK);
    return n;
}

static void number(EVP_PKEY *pkey, const char *name, char *ret, size_t size)
{
    unsigned char bytes[1100];
    BIGNUM *bn = NULL;

    CHECK(EVP_PKEY_get_bn_param(pkey, name, &bn) && BN_num_bytes(bn) <= (int)sizeof bytes);
    test_base64url((struct span){ (char *)bytes, (size_t)BN_bn2bin(bn, bytes) }, ret, size);
    BN_free(bn);
}

static void pem(BIO *bio, char *ret, size_t size)
{
    int n = BIO_read(bio, ret, (int)size - 1);

    CHECK(n > 0 && n < (int)size - 1);
    ret[n] = 0;
    BIO_free(bio);
}

static EVP_PKEY *generate(int bits, unsigned long exponent)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *pkey = NULL;
    BIGNUM *e = BN_new();

    CHECK(ctx && e && BN_set_word(e, exponent) && EVP_PKEY_keygen_init(ctx) == 1);
    CHECK(EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, bits) == 1 && EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, e) == 1);
    CHECK(EVP_PKEY_generate(ctx, &pkey) == 1);
    BN_free(e);
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

static struct slot *slot_of(int bits, unsigned long exponent, int which)
{
    struct slot *s;
    BIO *bio;

    for (int i = 0; i < n_slots; i++)
        if (slots[i].key.bits == bits && slots[i].key.exponent == exponent && slots[i].which == which)
            return &slots[i];
    CHECK(n_slots < (int)(sizeof slots / sizeof *slots));
    if (!n_slots)
        (void)atexit(free_slots);
    s = &slots[n_slots];
    *s = (struct slot){ .key = { .bits = bits, .exponent = exponent }, .which = which };
    s->pkey = generate(bits, exponent);
    number(s->pkey, OSSL_PKEY_PARAM_RSA_N, s->key.n, sizeof s->key.n);
    number(s->pkey, OSSL_PKEY_PARAM_RSA_E, s->key.e, sizeof s->key.e);
    bio = BIO_new(BIO_s_mem());
    CHECK(PEM_write_bio_PKCS8PrivateKey(bio, s->pkey, NULL, NULL, 0, NULL, NULL));
    pem(bio, s->key.private_pem, sizeof s->key.private_pem);
    bio = BIO_new(BIO_s_mem());
    CHECK(PEM_write_bio_PUBKEY(bio, s->pkey));
    pem(bio, s->key.public_pem, sizeof s->key.public_pem);
    n_slots++;
    return s;
}

const struct test_key *test_key(int bits, unsigned long exponent, int which)
{
    return &slot_of(bits, exponent, which)->key;
}

const char *test_ec_pem(void)
{
    static char text[1024];
    BIO *bio = BIO_new(BIO_s_mem());
    EVP_PKEY *pkey = EVP_EC_gen("P-256");

    CHECK(bio && pkey && PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL));
    EVP_PKEY_free(pkey);
    pem(bio, text, sizeof text);
    return text;
}

static const EVP_MD *digest_of(const char *alg)
{
    return strstr(alg, "384") ? EVP_sha384() : strstr(alg, "512") ? EVP_sha512() : EVP_sha256();
}

size_t test_sign(const struct test_key *key, const char *alg, struct span text, unsigned char *ret, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)text.ptr;
    const struct slot *s = (const struct slot *)(const void *)key; /* the key is its first member */
    EVP_PKEY_CTX *pctx;
    EVP_MD_CTX *ctx;
    unsigned n;

    if (*alg == 'H') {
        CHECK(HMAC(digest_of(alg), key->public_pem, (int)strlen(key->public_pem), bytes, text.len, ret, &n));
        return n;
    }
    ctx = EVP_MD_CTX_new();
    CHECK(ctx && EVP_DigestSignInit(ctx, &pctx, digest_of(alg), NULL, s->pkey) == 1);
    if (*alg == 'P')
        CHECK(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1);
    CHECK(EVP_DigestSign(ctx, ret, &size, bytes, text.len) == 1);
    EVP_MD_CTX_free(ctx);
    return size;
}

const char *test_token(const struct test_key *key, const char *alg, const char *header, const char *claims)
{
    static char token[200000];
    unsigned char signature[1024];
    size_t n;

    n = test_base64url(span_of(header), token, sizeof token);
    token[n++] = '.';
    n += test_base64url(span_of(claims), token + n, sizeof token - n);
    if (*alg) {
        size_t signed_bytes = test_sign(key, alg, (struct span){ token, n }, signature, sizeof signature);

        token[n++] = '.';
        n += test_base64url((struct span){ (char *)signature, signed_bytes }, token + n, sizeof token - n);
    } else {
        token[n++] = '.'; /* unsigned */
    }
    token[n] = 0;
    return token;
}
