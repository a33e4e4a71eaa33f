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

static enum err_code public_of(const char *n, const char *e, char pem[CRYPTO_PUBLIC_PEM_MAX + 1], size_t *ret_bytes)
{
    char n_bytes[2048], e_bytes[64];
    struct err err = { 0 };
    size_t len = 0;
    enum err_code rc = crypto_rsa_public(decoded(n, n_bytes, sizeof n_bytes), decoded(e, e_bytes, sizeof e_bytes), pem, &len,
                                         ret_bytes, &err);

    CHECK_INT(rc, err.code);
    pem[len] = 0;
    return rc;
}

TEST(crypto__writes_a_public_key_as_pem)
{
    static const struct {
        int bits;
        unsigned long exponent;
    } kinds[] = { { 2048, 65537 }, { 3072, 3 }, { 4096, 65537 } };
    char pem[CRYPTO_PUBLIC_PEM_MAX + 1];
    size_t bytes = 0;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const struct test_key *k = test_key(kinds[i].bits, kinds[i].exponent, 0);

        CHECK_INT(public_of(k->n, k->e, pem, &bytes), ERR_OK);
        CHECK_INT(bytes, kinds[i].bits / 8);
        CHECK_STR(pem, k->public_pem);
    }
}

TEST(crypto__refuses_weak_and_broken_public_keys)
{
    const struct test_key *k = test_key(2048, 65537, 0);
    char zeros[1400], pem[CRYPTO_PUBLIC_PEM_MAX + 1];
    size_t len = 0, bytes = 0;

    CHECK_INT(public_of(test_key(1024, 65537, 0)->n, "AQAB", pem, &bytes), ERR_INVALID);
    CHECK_INT(public_of(k->n, "AQ", pem, &bytes), ERR_INVALID);             /* exponent 1 */
    CHECK_INT(public_of(k->n, "AA", pem, &bytes), ERR_INVALID);             /* exponent 0 */
    CHECK_INT(public_of(k->n, "Ag", pem, &bytes), ERR_INVALID);             /* exponent 2 */
    CHECK_INT(public_of(k->n, "AQABAQABAQABAQ", pem, &bytes), ERR_INVALID); /* exponent of 10 bytes */
    CHECK_INT(public_of("_____w", "AQAB", pem, &bytes), ERR_INVALID);       /* modulus of 32 bits */
    memset(zeros, 'A', sizeof zeros);
    zeros[sizeof zeros - 1] = 0;
    zeros[344] = 0;
    CHECK_INT(public_of(zeros, "AQAB", pem, &bytes), ERR_INVALID);
    zeros[344] = 'A';
    zeros[1376] = 0; /* 1,032 bytes */
    CHECK_INT(public_of(zeros, "AQAB", pem, &bytes), ERR_INVALID);
    CHECK_INT(crypto_rsa_public(SPAN(""), SPAN("\1\0\1"), pem, &len, &bytes, NULL), ERR_INVALID);
    CHECK_INT(bytes, 0);
}

TEST(crypto__refuses_what_is_not_an_rsa_private_key)
{
    static const char locked[] = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    char cut[8192];
    struct err err = { 0 };
    size_t bytes = 0;

    CHECK_INT(crypto_rsa_private(SPAN(""), &bytes, NULL), ERR_INVALID);
    CHECK_INT(crypto_rsa_private(SPAN("garbage"), &bytes, NULL), ERR_INVALID);
    CHECK_INT(crypto_rsa_private(span_of(test_ec_pem()), &bytes, NULL), ERR_INVALID);
    CHECK_INT(crypto_rsa_private(SPAN(locked), &bytes, NULL), ERR_INVALID);
    CHECK_INT(crypto_rsa_private(span_of(test_key(1024, 65537, 0)->private_pem), &bytes, NULL), ERR_INVALID);
    CHECK_INT(crypto_rsa_private(span_of(test_key(2048, 65537, 0)->public_pem), &bytes, NULL), ERR_INVALID);
    (void)snprintf(cut, sizeof cut, "%s", test_key(2048, 65537, 0)->private_pem);
    cut[strlen(cut) / 2] = 0;
    CHECK_INT(crypto_rsa_private(span_of(cut), &bytes, NULL), ERR_INVALID);
    CHECK_OK(crypto_rsa_private(span_of(test_key(2048, 65537, 0)->private_pem), &bytes, &err), err);
    CHECK_INT(bytes, 256);
}

TEST(crypto__digests_as_published) /* FIPS 180-4 and RFC 1321, "abc" */
{
    static const unsigned char sha[] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                         0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                         0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad };
    static const unsigned char md5[] = { 0x90, 0x01, 0x50, 0x98, 0x3c, 0xd2, 0x4f, 0xb0,
                                         0xd6, 0x96, 0x3f, 0x7d, 0x28, 0xe1, 0x7f, 0x72 };
    unsigned char out[32];
    struct crypto_sha256 *parts = NULL;
    struct err err = { 0 };

    CHECK_OK(crypto_sha256(SPAN("abc"), out, &err), err);
    CHECK(memcmp(out, sha, sizeof sha) == 0);
    CHECK_OK(crypto_sha256_new(&parts, &err), err);
    CHECK_OK(crypto_sha256_add(parts, SPAN("a"), &err), err);
    CHECK_OK(crypto_sha256_add(parts, (struct span){ NULL, 0 }, &err), err);
    CHECK_OK(crypto_sha256_add(parts, SPAN("bc"), &err), err);
    memset(out, 0, sizeof out);
    CHECK_OK(crypto_sha256_end(parts, out, &err), err);
    CHECK(memcmp(out, sha, sizeof sha) == 0);
    crypto_sha256_free(parts);
    crypto_sha256_free(NULL);
    CHECK_OK(crypto_md5(SPAN("abc"), out, &err), err);
    CHECK(memcmp(out, md5, sizeof md5) == 0);
    CHECK_OK(crypto_md5((struct span){ NULL, 0 }, out, &err), err);
}
