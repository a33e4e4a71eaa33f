/*
 * service_account - the key file of a service account, and the JWTs signed with it (PROTOCOL.md 3.2, 3.3, 3.5).
 *
 *   1. JSON, or base64 of it: any alphabet, padding or not, line breaks; at most SERVICE_ACCOUNT_JSON_MAX bytes decoded
 *   2. type              "service_account"; authorized_user and the rest are ERR_UNSUPPORTED
 *   3. client_email      required
 *   4. private_key       PEM, RSA, required; private_key_id: the `kid`, optional
 *   5. project_id        optional
 *   6. token_uri         https://oauth2.googleapis.com/token or absent; http on loopback under test
 *   7. universe_domain   googleapis.com or absent; others are ERR_UNSUPPORTED
 *
 * All copies of the key's text made here are overwritten before the call returns.
 */
#ifndef WORKER_GOOGLE_SERVICE_ACCOUNT_H
#define WORKER_GOOGLE_SERVICE_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/span.h"
#include "worker/base/crypto.h"

enum { SERVICE_ACCOUNT_JSON_MAX = 16 << 10, SERVICE_ACCOUNT_JWT_SIZE = 4096 };

struct service_account {
    char client_email[256], key_id[129], project_id[129], token_uri[256]; /* "" when absent; token_uri never is */
    struct crypto_key *key;
};

MUST_CHECK enum err_code service_account_parse(struct span text, bool allow_loopback, struct service_account *ret,
                                               struct err *err);
void service_account_done(struct service_account *sa); /* takes a zeroed one */

/* A JWT of one hour. With `audience` it is an assertion for that endpoint (PROTOCOL.md 3.3), else a token of its
 * own (PROTOCOL.md 3.5). */
MUST_CHECK enum err_code service_account_sign(const struct service_account *sa, const char *scope, const char *audience,
                                              int64_t now_s, char ret[SERVICE_ACCOUNT_JWT_SIZE], struct err *err);

/* May it stand in a URL's path? 1 to 128 of [A-Za-z0-9.:_-], as "example.com:project" has them. */
bool project_id_is_valid(struct span id);

#endif
