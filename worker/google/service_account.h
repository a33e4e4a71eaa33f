/*
 * service_account - the key file of a service account, and the JWTs signed with it (PROTOCOL.md 3.2, 3.3, 3.5).
 *
 *   1. JSON, or its base64: either alphabet, with or without padding, with line breaks; at most
 *      SERVICE_ACCOUNT_JSON_MAX bytes decoded
 *   2. type              "service_account"; authorized_user and all other types are ERR_UNSUPPORTED
 *   3. client_email      required
 *   4. private_key       PEM, RSA, required; private_key_id: the `kid`, optional
 *   5. project_id        optional
 *   6. token_uri         https://oauth2.googleapis.com/token or absent; http on loopback under test
 *   7. universe_domain   googleapis.com or absent; all other domains are ERR_UNSUPPORTED
 *
 * The private key's text is kept by libjwt.h, which needs it for each signature; all other copies made here are
 * overwritten before the call returns.
 */
#ifndef WORKER_GOOGLE_SERVICE_ACCOUNT_H
#define WORKER_GOOGLE_SERVICE_ACCOUNT_H

#include <stdint.h>

#include "kernels/base/span.h"
#include "worker/base/config.h"
#include "worker/base/libjwt.h"
#include "worker/base/names.h"

enum {
    SERVICE_ACCOUNT_TEXT_MAX = CONFIG_SECRET_MAX,
    SERVICE_ACCOUNT_JSON_MAX = SERVICE_ACCOUNT_TEXT_MAX / 2, /* base64 is a third longer, and may have line breaks */
    SERVICE_ACCOUNT_JWT_SIZE = 4096
};

/* Texts are "" when absent; token_uri never is. */
struct service_account {
    char client_email[256], key_id[129], project_id[PROJECT_ID_MAX + 1], token_uri[256];
    struct libjwt_key *key;
};

/* The token endpoints that a key file may name. */
enum token_uri_rule { TOKEN_URI_GOOGLE, TOKEN_URI_GOOGLE_OR_LOOPBACK /* for tests */ };

/* Messages say what is wrong with "the text", "the key" or "the JSON" and how to mend it; the caller puts the name of
 * the setting in front. They quote nothing. ERR_INVALID, ERR_UNSUPPORTED, ERR_TOO_LARGE, ERR_NOMEM. */
MUST_CHECK enum err_code service_account_parse(struct span text, enum token_uri_rule rule, struct service_account *ret,
                                               struct err *err);
void service_account_done(struct service_account *sa); /* takes a zeroed one */

/* Signs a JWT that is valid for an hour. With `audience` it is an assertion for that token endpoint (3.3); with NULL it
 * is itself an access token (3.5). */
MUST_CHECK enum err_code service_account_sign(const struct service_account *sa, const char *scope, const char *audience,
                                              int64_t now_s, char ret[SERVICE_ACCOUNT_JWT_SIZE], struct err *err);

#endif
