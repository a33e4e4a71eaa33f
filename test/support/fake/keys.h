/*
 * keys - RSA keys and signatures of every kind, good and bad, for tests of tokens. Made on first use, freed at exit.
 */
#ifndef TEST_SUPPORT_FAKE_KEYS_H
#define TEST_SUPPORT_FAKE_KEYS_H

#include <stddef.h>

#include "kernels/base/span.h"

struct test_key {
    int bits;
    unsigned long exponent;
    char private_pem[8192]; /* PKCS#8 */
    char public_pem[2048];
    char n[1400], e[16]; /* base64url, as in a JWK */
};

/* `which` selects one of several keys of the same size and exponent. */
const struct test_key *test_key(int bits, unsigned long exponent, int which);

const char *test_ec_pem(void); /* a valid private key, but not RSA: on P-256 */

/* alg: RS256 RS384 RS512 PS256 by the private key; HS256 HS384 HS512 with the public PEM as the secret. */
size_t test_sign(const struct test_key *key, const char *alg, struct span text, unsigned char *ret, size_t size);

/* A compact JWS in a static buffer that the next call overwrites. */
const char *test_token(const struct test_key *key, const char *alg, const char *header, const char *claims);
size_t test_base64url(struct span bytes, char *ret, size_t size);

#endif
