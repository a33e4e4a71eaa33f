/*
 * jwks - the issuer's public keys by `kid`: fetched, checked, cached, rotated (PROTOCOL.md 2.3).
 *
 *   1. {"keys":[{"kty":"RSA","kid":...,"n":base64url,"e":base64url}, ...]}, at most JWKS_BODY_MAX bytes and
 *      JWKS_KEYS_MAX keys
 *   2. a key is kept if kty is RSA, use is absent or sig, alg is absent or RS256, the modulus has 2048 to 8192 bits,
 *      the exponent is sound, and OpenSSL's own check passes
 *   3. of two keys with one kid neither is kept
 *   4. a set lives for max-age - Age, clamped to 5 min ... 24 h, and is then refreshed; while that fails the old set
 *      serves for 24 h more
 *   5. an unknown kid starts a refresh at most once a minute for the whole process; the fetch at start does not count
 *   6. one thread fetches; other threads use the old set if it has their key, or wait up to 5 s
 *
 * Thread-safe. Lifetimes run on the monotonic clock.
 */
#ifndef WORKER_AUTH_JWKS_H
#define WORKER_AUTH_JWKS_H

#include <stdbool.h>

#include "kernels/base/err.h"
#include "kernels/base/span.h"
#include "worker/base/libjwt.h"
#include "worker/http/http_client.h"

enum { JWKS_BODY_MAX = 256 << 10, JWKS_KEYS_MAX = 32, JWKS_DEPTH_MAX = 8, JWKS_KID_MAX = 128 };

/* Whether a key may be called so: 1 to JWKS_KID_MAX characters of base64url. */
bool jwks_is_kid(const char *text);

struct jwks;

/* http, sys and url are borrowed. A URL with http:// is fetched only from loopback (tests). Fetches nothing yet. */
MUST_CHECK enum err_code jwks_open(struct http *http, const struct sys *sys, const char *url, struct jwks **ret,
                                   struct err *err);
void jwks_close(struct jwks *j); /* takes NULL */

/* Fetches the keys at start. A failure should only be logged: the next lookup tries again. */
MUST_CHECK enum err_code jwks_prefetch(struct jwks *j, const struct budget *budget, struct err *err);

/* The caller frees *ret_key with libjwt_key_free(). ERR_NOT_FOUND: the issuer has no such key; ERR_UNAVAILABLE: there
 * is no key set and none can be fetched. */
MUST_CHECK enum err_code jwks_find(struct jwks *j, const char *kid, const struct budget *budget,
                                   struct libjwt_key **ret_key, struct err *err);

/* Returns the number of keys that are usable now, and for how long they are fresh; for `doctor`. */
int jwks_count(struct jwks *j, int64_t *ret_fresh_ms);

#endif
