/*
 * crypto - RSA signatures and digests. The only file that includes OpenSSL.
 *
 * RS256 is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 3.3). Keys have CRYPTO_RSA_MIN_BITS to CRYPTO_RSA_MAX_BITS; OpenSSL
 * builds keys with exponent 1 or 32 bits happily, so each key goes through its own check as well.
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

/* n and e are big-endian, as in a JWK. ERR_INVALID: size, even or small exponent, or OpenSSL's check says no. */
MUST_CHECK enum err_code crypto_rsa_public(struct span n, struct span e, struct crypto_key **ret, struct err *err);

/* An RSA private key as PEM without a passphrase (PKCS#8 or PKCS#1). ERR_INVALID. */
MUST_CHECK enum err_code crypto_rsa_private(struct span pem, struct crypto_key **ret, struct err *err);

struct crypto_key *crypto_key_ref(struct crypto_key *key); /* the same key, one owner more */
void crypto_key_free(struct crypto_key *key);              /* takes NULL */
size_t crypto_key_bytes(const struct crypto_key *key);     /* length of the modulus = of a signature */

/* ERR_DENIED: not this key's signature of these bytes. */
MUST_CHECK enum err_code crypto_rs256_verify(const struct crypto_key *key, struct span text, struct span signature,
                                             struct err *err);

/* Writes crypto_key_bytes(key) bytes. */
MUST_CHECK enum err_code crypto_rs256_sign(const struct crypto_key *key, struct span text,
                                           unsigned char signature[CRYPTO_SIGNATURE_MAX], struct err *err);

MUST_CHECK enum err_code crypto_sha256(struct span bytes, unsigned char ret[CRYPTO_SHA256_BYTES], struct err *err);
MUST_CHECK enum err_code crypto_md5(struct span bytes, unsigned char ret[CRYPTO_MD5_BYTES], struct err *err);

/* Overwrites a secret so that no compiler leaves it out. */
void crypto_clear(void *bytes, size_t n);

#endif
