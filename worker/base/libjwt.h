/*
 * libjwt - RS256 signatures of JWTs, by libjwt 1.10 to 2.x. The only file that includes it.
 *
 * libjwt accepts more than this program may: other algorithms and spellings of them, an HMAC keyed with the text of the
 * public key, signatures with characters that its base64 skips, a token without a signature where it is given no key.
 * So libjwt_verify shows it only a token of three parts of base64url whose signature is exactly as long as the modulus,
 * never without a key, and afterwards asks for the algorithm that was used. What else a token must be (PROTOCOL.md 2.2)
 * is checked by the caller before, because libjwt reads header and claims before it verifies anything.
 *
 * libjwt takes keys as PEM. The text of a private key lies in pages of its own, which are locked in memory and left out
 * of core dumps where the system allows that, and which are overwritten when the last owner frees the key. libjwt
 * copies it while it signs and overwrites its copy. Thread-safe: a key may be used by any number of threads.
 */
#ifndef WORKER_BASE_LIBJWT_H
#define WORKER_BASE_LIBJWT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/err.h"
#include "kernels/base/span.h"

enum {
    LIBJWT_TOKEN_MAX = 8192, /* bytes of a token that is verified */
    LIBJWT_PEM_MAX = 8192    /* bytes of a private key */
};

struct libjwt_key;

/* A JWK's numbers, big-endian, which crypto_rsa_public checks. ERR_INVALID, ERR_NOMEM. */
MUST_CHECK enum err_code libjwt_key_public(struct span n, struct span e, struct libjwt_key **ret, struct err *err);

/* Copies the PEM, which crypto_rsa_private checks; the caller overwrites its own copy. ERR_INVALID, ERR_NOMEM. */
MUST_CHECK enum err_code libjwt_key_private(struct span pem, struct libjwt_key **ret, struct err *err);

struct libjwt_key *libjwt_key_ref(struct libjwt_key *key); /* the same key, with one more owner */
void libjwt_key_free(struct libjwt_key *key);              /* takes NULL */
size_t libjwt_key_bytes(const struct libjwt_key *key);     /* length of the modulus = of a signature */

/* ERR_DENIED: the token does not carry this key's RS256 signature, or has a form that libjwt must not see. ERR_NOMEM.
 */
MUST_CHECK enum err_code libjwt_verify(const struct libjwt_key *key, struct span token, struct err *err);

struct libjwt_claim {
    const char *name;
    const char *text; /* UTF-8; NULL: the claim is `number` */
    int64_t number;
};

/* Writes a token signed with RS256, NUL-terminated. `key_id`: the `kid`, "" for none. ERR_TOO_LARGE, ERR_INTERNAL. */
MUST_CHECK enum err_code libjwt_sign(const struct libjwt_key *key, const char *key_id,
                                     const struct libjwt_claim *claims, int n_claims, char *ret, size_t size,
                                     struct err *err);

#endif
