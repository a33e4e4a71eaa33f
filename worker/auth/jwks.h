/*
 * jwks - the issuer's public keys by `kid`: fetched, checked, cached, rotated (PROTOCOL.md 2.3).
 *
 *   1. {"keys":[{"kty":"RSA","kid":...,"n":base64url,"e":base64url}, ...]}, at most JWKS_BODY_MAX bytes and
 *      JWKS_KEYS_MAX keys
 *   2. kept: kty RSA, use absent or sig, alg absent or RS256, modulus 2048 to 8192 bits, sound exponent, and OpenSSL's
 *      own check
 *   3. two keys with one kid: neither is kept
 *   4. lifetime max-age - Age, clamped to 5 min ... 24 h; past it a refresh; while that fails the old set serves 24 h
 *      more
 *   5. an unknown kid starts a refresh at most once a minute for the whole process; the fetch at start does not count
 *   6. one thread fetches; the others use the old set when it has what they want, or wait up to 5 s
 *
 * Thread-safe. Lifetimes run on the monotonic clock.
 */
#ifndef WORKER_AUTH_JWKS_H
#define WORKER_AUTH_JWKS_H

#include "kernels/base/err.h"
#include "kernels/base/span.h"
#include "worker/base/crypto.h"
#include "worker/http/http_client.h"

enum { JWKS_BODY_MAX = 256 << 10, JWKS_KEYS_MAX = 32, JWKS_DEPTH_MAX = 8 };

#define JWKS_GOOGLE_URL "https://www.googleapis.com/oauth2/v3/certs"

struct jwks;

/* http, sys and url are borrowed. allow_plain: the URL may be http:// (loopback in tests). Fetches nothing yet. */
MUST_CHECK enum err_code jwks_open(struct http *http, const struct sys *sys, const char *url, bool allow_plain,
                                   struct jwks **ret, struct err *err);
void jwks_close(struct jwks *j); /* takes NULL */

/* The fetch at start. A failure is for the log: the next lookup tries again. */
MUST_CHECK enum err_code jwks_prefetch(struct jwks *j, const struct budget *budget, struct err *err);

/* ret_key is a reference of its own: crypto_key_free(). ERR_NOT_FOUND: no such key; ERR_UNAVAILABLE: there are no keys
 * at all and none can be had. */
MUST_CHECK enum err_code jwks_find(struct jwks *j, const char *kid, const struct budget *budget,
                                   struct crypto_key **ret_key, struct err *err);

/* How many keys are usable now, and for how long they are fresh; for the status page. */
int jwks_count(struct jwks *j, int64_t *ret_fresh_ms);

#endif
