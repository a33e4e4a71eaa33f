/*
 * oidc - decides whether a push may come in, by the OpenID Connect token of Pub/Sub (PROTOCOL.md 2).
 *
 * libjwt verifies the signature, behind a strict gate (worker/base/libjwt.h says why): everything about a token's form
 * is checked before libjwt sees it.
 *
 * Facts that are easy to get wrong: the algorithm is pinned before a key is looked up; a token has exactly one spelling
 * (strict base64url, no duplicate members); exp and iat must be written as integers; `aud` is one string; Cloud Run's
 * own invoker check replaces the signature by a marker, and PUSH_AUTH_IAM then checks the claims alone.
 *
 *   PUSH_AUTH_OIDC  every token is verified here, in full: the recommended way
 *   PUSH_AUTH_IAM   Cloud Run has verified the token: where K_SERVICE is set its marker is accepted in place of the
 *                   signature; a token without the marker is verified in full
 *   PUSH_AUTH_NONE  every push is accepted: only with emulators, on loopback
 *
 * Thread-safe. Never logs; no message holds the token.
 */
#ifndef WORKER_AUTH_OIDC_H
#define WORKER_AUTH_OIDC_H

#include <stdbool.h>

#include "kernels/base/span.h"
#include "worker/auth/jwks.h"
#include "worker/base/config.h"

enum {
    OIDC_TOKEN_MAX = LIBJWT_TOKEN_MAX,
    OIDC_HEADER_MAX = 1024,
    OIDC_CLAIMS_MAX = 4096,
    OIDC_DEPTH_MAX = 8,
    OIDC_LABEL_SIZE = 32,
    OIDC_LIST_MAX = CONFIG_LIST_MAX
};

/* The reasons to refuse a push. In lower case a name is the label of inpaint_push_refusals_total (PROTOCOL.md 14). */
/* clang-format off: a table */
#define OIDC_REASON_MAP(X)                                                                                          \
    /* reason          status  text for the log */                                                                  \
    X(ACCEPTED, 204, "accepted")                                                                                    \
    X(NO_HEADER, 401,                                                                                               \
      "no Authorization header: does the push subscription have a service account "                                 \
      "(--push-auth-service-account)?")                                                                             \
    X(MANY_HEADERS, 401, "more than one Authorization header")                                                      \
    X(NOT_BEARER, 401, "the Authorization header is not 'Bearer' and one token")                                    \
    X(TOKEN_SIZE, 401, "the token is too long")                                                                     \
    X(TOKEN_SHAPE, 401, "the token is not three parts of base64url")                                                \
    X(HEADER, 401, "the token's header is not a strict JSON object")                                                \
    X(ALGORITHM, 401, "the token's alg is not RS256")                                                               \
    X(TYPE, 401, "the token's typ is not JWT")                                                                      \
    X(EXTENSION, 401, "the token's header holds crit, b64, zip or cty")                                             \
    X(KEY_ID, 401, "the token's kid is missing or malformed")                                                       \
    X(KEY_UNKNOWN, 401, "the token's kid is not among the issuer's keys")                                           \
    X(KEYS_UNAVAILABLE, 503, "the issuer's keys cannot be fetched: is OIDC_CERTS_URL reachable?")                   \
    X(SIGNATURE, 401, "the token's signature does not verify")                                                      \
    X(SIGNATURE_REMOVED, 401,                                                                                       \
      "the signature was removed, as Cloud Run's IAM check does: with PUSH_AUTH=oidc switch that "                  \
      "check off (--no-invoker-iam-check); with PUSH_AUTH=iam it is accepted only where K_SERVICE is set")          \
    X(CLAIMS, 401, "the token's claims are not a strict JSON object")                                               \
    X(TIMES, 401, "exp, iat or nbf of the token is missing or malformed")                                           \
    X(EXPIRED, 401, "the token has expired: is the clock of this machine right?")                                   \
    X(NOT_YET, 401, "the token was issued in the future: is the clock of this machine right?")                      \
    X(LIFETIME, 401, "the token is more than a day old, or valid for longer than a day")                            \
    X(ISSUER, 401, "the token's issuer is not accounts.google.com")                                                 \
    X(AUDIENCE, 401, "the token's audience is not in PUSH_AUDIENCE: set it to what was received, if that is yours") \
    X(EMAIL_UNVERIFIED, 403, "the token's email_verified is not true")                                              \
    X(EMAIL, 403,                                                                                                   \
      "the token's account is not in PUSH_SERVICE_ACCOUNT: set it to what was received, if that is "                \
      "yours")                                                                                                      \
    X(INTERNAL, 503, "no memory to check the token")
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
    int status;       /* 204: accepted; 401 (answered with WWW-Authenticate: Bearer error="invalid_token"), 403, 503 */
    const char *text; /* the reason in words, constant */
    char kid[JWKS_KID_MAX + 1]; /* for the log; empty when the check failed before the kid was read */
    char email[255]; /* for the log, too; bytes outside printable ASCII are replaced; verified only with 204 and 403 */
    /* For the log, with ISSUER, AUDIENCE and EMAIL: what the claim says and what it had to be, escaped; else empty. */
    char received[256], wanted[512];
};

/* Checks the settings: modes OIDC and IAM need keys, an audience and an e-mail, none of them empty. ERR_INVALID. */
MUST_CHECK enum err_code oidc_check_settings(const struct oidc *o, struct err *err);

/* The reason as a label of a metric: lower case, without anything of the token. */
void oidc_label(enum oidc_reason reason, char ret[OIDC_LABEL_SIZE]);

/* `authorization`: the values of all Authorization headers of the request. `budget` limits a fetch of keys. */
struct oidc_result oidc_check(const struct oidc *o, const struct span *authorization, int n_authorization,
                              const struct budget *budget);

#endif
