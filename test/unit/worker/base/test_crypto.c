#include <stdio.h>

#include "kernels/base/base64.h"
#include "test/support/check.h"
#include "test/support/fake/keys.h"
#include "worker/base/crypto.h"

static struct span decoded(const char *text, char *buf, size_t size)
{
    size_t n;

    CHECK_INT(base64_decode(span_of(text), BASE64_URL | BASE64_NO_PADDING, buf, size, &n, NULL), ERR_OK);
    return (struct span){ buf, n };
}

static enum err_code public_of(const char *n, const char *e, struct crypto_key **ret)
{
    char n_bytes[2048], e_bytes[64];
    struct err err = { 0 };
    enum err_code rc =
        crypto_rsa_public(decoded(n, n_bytes, sizeof n_bytes), decoded(e, e_bytes, sizeof e_bytes), ret, &err);

    CHECK_INT(rc, err.code);
    return rc;
}

TEST(crypto__verifies_what_it_signed_and_nothing_else)
{
    const struct test_key *k = test_key(2048, 65537, 0), *other = test_key(2048, 65537, 1);
    struct crypto_key *private = NULL, *public = NULL, *stranger = NULL;
    unsigned char sig[CRYPTO_SIGNATURE_MAX];
    struct span s = { (char *)sig, 256 };
    struct err err = { 0 };

    CHECK_OK(crypto_rsa_private(span_of(k->private_pem), &private, &err), err);
    CHECK_INT(public_of(k->n, k->e, &public), ERR_OK);
    CHECK_INT(public_of(other->n, other->e, &stranger), ERR_OK);
    CHECK_INT(crypto_key_bytes(public), 256);
    CHECK_OK(crypto_rs256_sign(private, SPAN("a text"), sig, &err), err);
    CHECK_OK(crypto_rs256_verify(public, SPAN("a text"), s, &err), err);
    CHECK_INT(crypto_rs256_verify(public, SPAN("a texT"), s, NULL), ERR_DENIED);
    CHECK_INT(crypto_rs256_verify(stranger, SPAN("a text"), s, NULL), ERR_DENIED);
    for (size_t i = 0; i < 256; i += 51) {
        sig[i] ^= 1;
        CHECK_INT(crypto_rs256_verify(public, SPAN("a text"), s, NULL), ERR_DENIED);
        sig[i] ^= 1;
    }
    s.len = 255;
    CHECK_INT(crypto_rs256_verify(public, SPAN("a text"), s, NULL), ERR_DENIED);
    s.len = 257;
    CHECK_INT(crypto_rs256_verify(public, SPAN("a text"), s, NULL), ERR_DENIED);
    s.len = 0;
    CHECK_INT(crypto_rs256_verify(public, SPAN("a text"), s, NULL), ERR_DENIED);
    crypto_key_free(crypto_key_ref(public)); /* `public` stays valid */
    CHECK_INT(crypto_key_bytes(public), 256);
    crypto_key_free(private);
    crypto_key_free(public);
    crypto_key_free(stranger);
    crypto_key_free(NULL);
}

TEST(crypto__refuses_other_algorithms_of_the_same_key)
{
    static const char *const algs[] = { "RS384", "RS512", "PS256" };
    const struct test_key *k = test_key(2048, 65537, 0);
    struct crypto_key *public = NULL;
    unsigned char sig[1024];

    CHECK_INT(public_of(k->n, k->e, &public), ERR_OK);
    for (size_t i = 0; i < sizeof algs / sizeof *algs; i++) {
        size_t n = test_sign(k, algs[i], SPAN("text"), sig, sizeof sig);

        CHECK_INT(crypto_rs256_verify(public, SPAN("text"), (struct span){ (char *)sig, n }, NULL), ERR_DENIED);
    }
    crypto_key_free(public);
}

TEST(crypto__refuses_weak_and_broken_public_keys)
{
    const struct test_key *k = test_key(2048, 65537, 0);
    struct crypto_key *key = NULL;
    char zeros[1400];

    CHECK_INT(public_of(test_key(1024, 65537, 0)->n, "AQAB", &key), ERR_INVALID);
    CHECK_INT(public_of(k->n, "AQ", &key), ERR_INVALID);             /* exponent 1 */
    CHECK_INT(public_of(k->n, "AA", &key), ERR_INVALID);             /* exponent 0 */
    CHECK_INT(public_of(k->n, "Ag", &key), ERR_INVALID);             /* exponent 2 */
    CHECK_INT(public_of(k->n, "AQABAQABAQABAQ", &key), ERR_INVALID); /* exponent of 10 bytes */
    CHECK_INT(public_of("_____w", "AQAB", &key), ERR_INVALID);       /* modulus of 32 bits */
    memset(zeros, 'A', sizeof zeros);
    zeros[sizeof zeros - 1] = 0;
    zeros[344] = 0;
    CHECK_INT(public_of(zeros, "AQAB", &key), ERR_INVALID);
    zeros[344] = 'A';
    zeros[1376] = 0; /* 1,032 bytes */
    CHECK_INT(public_of(zeros, "AQAB", &key), ERR_INVALID);
    CHECK_INT(crypto_rsa_public(SPAN(""), SPAN("\1\0\1"), &key, NULL), ERR_INVALID);
    CHECK(!key);
    CHECK_INT(public_of(test_key(3072, 3, 0)->n, test_key(3072, 3, 0)->e, &key), ERR_OK);
    CHECK_INT(crypto_key_bytes(key), 384);
    crypto_key_free(key);
}

TEST(crypto__refuses_what_is_not_an_rsa_private_key)
{
    static const char locked[] = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    struct crypto_key *key = NULL;
    char cut[8192];

    CHECK_INT(crypto_rsa_private(SPAN(""), &key, NULL), ERR_INVALID);
    CHECK_INT(crypto_rsa_private(SPAN("garbage"), &key, NULL), ERR_INVALID);
    CHECK_INT(crypto_rsa_private(span_of(test_ec_pem()), &key, NULL), ERR_INVALID);
    CHECK_INT(crypto_rsa_private(SPAN(locked), &key, NULL), ERR_INVALID);
    CHECK_INT(crypto_rsa_private(span_of(test_key(1024, 65537, 0)->private_pem), &key, NULL), ERR_INVALID);
    CHECK_INT(crypto_rsa_private(span_of(test_key(2048, 65537, 0)->public_pem), &key, NULL), ERR_INVALID);
    (void)snprintf(cut, sizeof cut, "%s", test_key(2048, 65537, 0)->private_pem);
    cut[strlen(cut) / 2] = 0;
    CHECK_INT(crypto_rsa_private(span_of(cut), &key, NULL), ERR_INVALID);
    CHECK(!key);
}

TEST(crypto__digests_as_published) /* FIPS 180-4 and RFC 1321, "abc" */
{
    static const unsigned char sha[] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                         0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                         0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad };
    static const unsigned char md5[] = { 0x90, 0x01, 0x50, 0x98, 0x3c, 0xd2, 0x4f, 0xb0,
                                         0xd6, 0x96, 0x3f, 0x7d, 0x28, 0xe1, 0x7f, 0x72 };
    unsigned char out[32];
    struct err err = { 0 };

    CHECK_OK(crypto_sha256(SPAN("abc"), out, &err), err);
    CHECK(memcmp(out, sha, sizeof sha) == 0);
    CHECK_OK(crypto_md5(SPAN("abc"), out, &err), err);
    CHECK(memcmp(out, md5, sizeof md5) == 0);
    CHECK_OK(crypto_md5((struct span){ NULL, 0 }, out, &err), err);
}
