/*
 * crypto - RSA signatures and digests. The only file that includes OpenSSL.
 *
 * RS256 is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 3.3). Keys have CRYPTO_RSA_MIN_BITS to CRYPTO_RSA_MAX_BITS. OpenSSL
 * loads keys of 32 bits or with exponent 1 without complaint, so each key is checked here and by OpenSSL's own check.
 * Thread-safe: a key may be used by any number of threads.
 */
#ifndef WORKER_BASE_CRYPTO_H
#define WORKER_BASE_CRYPTO_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/base/span.h"

enum {
    CRYPTO_RSA_MIN_BITS = 2048,
    CRYPTO_RSA_MAX_BITS = 8192,
    CRYPTO_SIGNATURE_MAX = CRYPTO_RSA_MAX_BITS / 8,
    CRYPTO_SHA256_BYTES = 32,
    CRYPTO_MD5_BYTES = 16
};

struct crypto_key;

/* n and e are big-endian, as in a JWK. ERR_INVALID: wrong size, even or small exponent, or OpenSSL's check fails. */
MUST_CHECK enum err_code crypto_rsa_public(struct span n, struct span e, struct crypto_key **ret, struct err *err);

/* An RSA private key as PEM without a passphrase (PKCS#8 or PKCS#1). ERR_INVALID. */
MUST_CHECK enum err_code crypto_rsa_private(struct span pem, struct crypto_key **ret, struct err *err);

struct crypto_key *crypto_key_ref(struct crypto_key *key); /* the same key, with one more owner */
void crypto_key_free(struct crypto_key *key);              /* takes NULL */
size_t crypto_key_bytes(const struct crypto_key *key);     /* length of the modulus = of a signature */

/* ERR_DENIED: `signature` is not this key's signature of `text`. */
MUST_CHECK enum err_code crypto_rs256_verify(const struct crypto_key *key, struct span text, struct span signature,
                                             struct err *err);

/* Writes crypto_key_bytes(key) bytes. */
MUST_CHECK enum err_code crypto_rs256_sign(const struct crypto_key *key, struct span text,
                                           unsigned char signature[CRYPTO_SIGNATURE_MAX], struct err *err);

MUST_CHECK enum err_code crypto_sha256(struct span bytes, unsigned char ret[CRYPTO_SHA256_BYTES], struct err *err);
MUST_CHECK enum err_code crypto_md5(struct span bytes, unsigned char ret[CRYPTO_MD5_BYTES], struct err *err);

/* Overwrites a secret in a way that no compiler optimises away. */
void crypto_clear(void *bytes, size_t n);

#endif
