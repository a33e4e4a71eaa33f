/*
 * oidc - may this push come in? Checks the OpenID Connect token of a Pub/Sub push (PROTOCOL.md 2).
 *
 * Facts that are easy to get wrong: the algorithm is pinned before a key is looked up; one token has one spelling
 * (strict base64url, no duplicate members); exp and iat are integers as written; `aud` is one string; Cloud Run's own
 * invoker check replaces the signature by a marker, so that mode trusts the platform and checks the claims alone.
 *
 *   PUSH_AUTH_OIDC  verify everything here
 *   PUSH_AUTH_IAM   Cloud Run has verified: the marker is taken where K_SERVICE is set; any other token is verified in
 *                   full
 *   PUSH_AUTH_NONE  everything comes in: emulator and loopback only
 *
 * Thread-safe. Never logs; the token is in no message.
 */
#ifndef WORKER_AUTH_OIDC_H
#define WORKER_AUTH_OIDC_H

#include <stdbool.h>

#include "kernels/base/span.h"
#include "worker/http/http_client.h"
#include "worker/auth/jwks.h"

enum push_auth { PUSH_AUTH_OIDC, PUSH_AUTH_IAM, PUSH_AUTH_NONE };

enum { OIDC_TOKEN_MAX = 8192, OIDC_HEADER_MAX = 1024, OIDC_CLAIMS_MAX = 4096, OIDC_DEPTH_MAX = 8, OIDC_LIST_MAX = 16 };

/* clang-format off: a table */
#define OIDC_REASON_MAP(X)                                                                                   \
    /* reason          status  text for the log */                                                           \
    X(ACCEPTED, 204, "accepted")                                                                             \
    X(NO_HEADER, 401, "no Authorization header")                                                             \
    X(MANY_HEADERS, 401, "more than one Authorization header")                                               \
    X(NOT_BEARER, 401, "not 'Bearer' and one token")                                                         \
    X(TOKEN_SIZE, 401, "token too long")                                                                     \
    X(TOKEN_SHAPE, 401, "not three parts of base64url")                                                      \
    X(HEADER, 401, "the token's header is not a strict JSON object")                                         \
    X(ALGORITHM, 401, "alg is not RS256")                                                                    \
    X(TYPE, 401, "typ is not JWT")                                                                           \
    X(EXTENSION, 401, "crit, b64, zip or cty in the header")                                                 \
    X(KEY_ID, 401, "kid is missing or malformed")                                                            \
    X(KEY_UNKNOWN, 401, "kid is not among the issuer's keys")                                                \
    X(KEYS_UNAVAILABLE, 503, "the issuer's keys cannot be fetched")                                          \
    X(SIGNATURE, 401, "the signature does not verify")                                                       \
    X(SIGNATURE_REMOVED, 401, "Cloud Run removed the signature: PUSH_AUTH=iam, or switch its IAM check off") \
    X(CLAIMS, 401, "the claims are not a strict JSON object")                                                \
    X(TIMES, 401, "exp, iat or nbf missing or malformed")                                                    \
    X(EXPIRED, 401, "expired")                                                                               \
    X(NOT_YET, 401, "issued in the future")                                                                  \
    X(LIFETIME, 401, "older or longer-lived than a day")                                                     \
    X(ISSUER, 401, "wrong issuer")                                                                           \
    X(AUDIENCE, 401, "wrong audience")                                                                       \
    X(EMAIL_UNVERIFIED, 403, "email_verified is not true")                                                   \
    X(EMAIL, 403, "e-mail not in PUSH_SERVICE_ACCOUNT")                                                      \
    X(INTERNAL, 503, "no memory")
/* clang-format on */

enum oidc_reason {
#define X(name, status, text) OIDC_##name,
    OIDC_REASON_MAP(X)
#undef X
        OIDC_REASON_COUNT
};

struct oidc {
    enum push_auth mode;
    bool on_cloud_run;                    /* K_SERVICE is set */
    const char *audiences[OIDC_LIST_MAX]; /* borrowed; compared byte by byte */
    const char *emails[OIDC_LIST_MAX];
    int n_audiences, n_emails;
    struct jwks *jwks; /* borrowed; NULL with PUSH_AUTH_NONE */
    const struct sys *sys;
};

struct oidc_result {
    enum oidc_reason reason;
    int status;       /* 204: come in; 401 (goes out with WWW-Authenticate: Bearer error="invalid_token"), 403, 503 */
    const char *text; /* of the reason, constant */
    char kid[129];    /* for the log; empty when the token did not get that far */
    char email[255];  /* likewise, bytes outside printable ASCII replaced; verified only with 204 and 403 */
};

/* Checks the settings: modes OIDC and IAM need keys, an audience and an e-mail, none of them empty. ERR_INVALID. */
MUST_CHECK enum err_code oidc_check_settings(const struct oidc *o, struct err *err);

/* `authorization`: the values of all Authorization headers of the request. `budget` limits a fetch of keys. */
struct oidc_result oidc_check(const struct oidc *o, const struct span *authorization, int n_authorization,
                              const struct budget *budget);

#endif
