/*
 * crypto - checks of RSA keys, and digests. The only file that includes OpenSSL.
 *
 * Signatures are made and verified by libjwt.h, which takes the PEM that is checked here. Keys have CRYPTO_RSA_MIN_BITS
 * to CRYPTO_RSA_MAX_BITS. OpenSSL loads keys of 32 bits or with exponent 1 without complaint, so each key is checked
 * here and by OpenSSL's own check. Thread-safe.
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
    CRYPTO_PUBLIC_PEM_MAX = 2048, /* 1.6 kB for CRYPTO_RSA_MAX_BITS */
    CRYPTO_SHA256_BYTES = 32,
    CRYPTO_MD5_BYTES = 16
};

/* n and e are big-endian, as in a JWK. Writes the key as PEM (SubjectPublicKeyInfo), *ret_pem_len bytes without NUL,
 * and the length of its modulus. ERR_INVALID: wrong size, even or small exponent, or OpenSSL's check fails. */
MUST_CHECK enum err_code crypto_rsa_public(struct span n, struct span e, char ret_pem[CRYPTO_PUBLIC_PEM_MAX],
                                           size_t *ret_pem_len, size_t *ret_bytes, struct err *err);

/* Checks an RSA private key as PEM without a passphrase (PKCS#8 or PKCS#1); writes the length of its modulus.
 * ERR_INVALID. */
MUST_CHECK enum err_code crypto_rsa_private(struct span pem, size_t *ret_bytes, struct err *err);

MUST_CHECK enum err_code crypto_sha256(struct span bytes, unsigned char ret[CRYPTO_SHA256_BYTES], struct err *err);

/* The same of bytes that come in parts. */
struct crypto_sha256;
MUST_CHECK enum err_code crypto_sha256_new(struct crypto_sha256 **ret, struct err *err);
MUST_CHECK enum err_code crypto_sha256_add(struct crypto_sha256 *s, struct span bytes, struct err *err);
/* Once, at the end. */
MUST_CHECK enum err_code crypto_sha256_end(struct crypto_sha256 *s, unsigned char ret[CRYPTO_SHA256_BYTES],
                                           struct err *err);
void crypto_sha256_free(struct crypto_sha256 *s); /* takes NULL */

/* A digest as 64 small hex digits and a NUL. */
enum { CRYPTO_SHA256_TEXT_SIZE = 2 * CRYPTO_SHA256_BYTES + 1 };
void crypto_sha256_text(const unsigned char digest[CRYPTO_SHA256_BYTES], char ret[CRYPTO_SHA256_TEXT_SIZE]);

MUST_CHECK enum err_code crypto_md5(struct span bytes, unsigned char ret[CRYPTO_MD5_BYTES], struct err *err);

/* Overwrites a secret in a way that no compiler optimises away. */
void crypto_clear(void *bytes, size_t n);

/* Empties OpenSSL's queue of errors of this thread, in which libjwt leaves the reasons of its refusals. */
void crypto_forget_errors(void);

#endif
