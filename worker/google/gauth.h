/*
 * gauth - the Authorization header for calls to Google (PROTOCOL.md 3).
 *
 * The credentials of each service are the first of these:
 *   1. its emulator, if set       Firestore: "Bearer owner"; Storage, Pub/Sub: no header
 *   2. FIREBASE_CREDENTIALS       a service account's JSON, plain or in base64 (either alphabet, padding, line breaks)
 *   3. GOOGLE_APPLICATION_CREDENTIALS   the same in a file; other types of credentials are refused at start
 *   4. the metadata server
 *
 * With a key, a JWT for the scopes of the services in use is signed here and is itself the token; with
 * `jwt_bearer_grant` it is exchanged for one at the token endpoint. A token is renewed when less than 225 s remain
 * (before that, the metadata server returns the old token again) by one thread; while renewing fails, the old token is
 * used until its last 10 s. The key's text is kept only where libjwt.h says, until gauth_close. Thread-safe. No message
 * holds a token.
 */
#ifndef WORKER_GOOGLE_GAUTH_H
#define WORKER_GOOGLE_GAUTH_H

#include <stdbool.h>

#include "kernels/base/arena.h"
#include "worker/google/service_account.h"
#include "worker/http/http_client.h"

enum gauth_service { GAUTH_FIRESTORE, GAUTH_STORAGE, GAUTH_PUBSUB, GAUTH_SERVICES };

enum { GAUTH_TOKEN_MAX = SERVICE_ACCOUNT_JWT_SIZE, GAUTH_ACCOUNT_SIZE = 256 };

struct gauth_options { /* NULL or "": not set */
    struct http *http; /* borrowed */
    const struct sys *sys;
    bool emulator[GAUTH_SERVICES];
    bool uses_pubsub;                 /* false: GAUTH_PUBSUB is never asked for, and no token has its scope */
    const char *firebase_credentials; /* FIREBASE_CREDENTIALS; the caller overwrites it afterwards */
    const char *credentials_file;     /* GOOGLE_APPLICATION_CREDENTIALS: a path */
    const char *project;              /* GOOGLE_CLOUD_PROJECT */
    const char *metadata_host;        /* GCE_METADATA_HOST, host[:port] */
    bool jwt_bearer_grant;            /* exchange JWTs at the token endpoint */
    bool allow_loopback_token_uri;    /* tests: token_uri may be http:// on loopback */
};

struct gauth;

/* Reads and checks the credentials; sends nothing. ERR_INVALID, ERR_UNSUPPORTED (other type, other universe),
 * ERR_NOT_FOUND (no such file), ERR_IO. */
MUST_CHECK enum err_code gauth_open(const struct gauth_options *options, struct gauth **ret, struct err *err);
void gauth_close(struct gauth *g); /* takes NULL */

/* The value of the Authorization header, in the arena; NULL: send none. ERR_UNAVAILABLE, ERR_DENIED (the account or its
 * key is refused), ERR_PROTOCOL, ERR_DEADLINE, ERR_CANCELLED. */
MUST_CHECK enum err_code gauth_header(struct gauth *g, enum gauth_service service, const struct budget *budget,
                                      struct arena *a, const char **ret, struct err *err);

/* An API has answered 401 to this value: forgets the token, unless another thread has renewed it already. */
void gauth_drop(struct gauth *g, const char *header_value);

/* GOOGLE_CLOUD_PROJECT, else the key file's project_id, else the metadata server. Lives as long as g. */
MUST_CHECK enum err_code gauth_project(struct gauth *g, const struct budget *budget, const char **ret, struct err *err);

/* The e-mail address of the service account: the key file's, else the metadata server's. false: it is not known. */
bool gauth_account(const struct gauth *g, const struct budget *budget, char ret[GAUTH_ACCOUNT_SIZE]);

/* An OIDC token of this machine's service account for an audience, from the metadata server, whatever the credentials;
 * in the arena. ERR_INVALID (the audience), and those of gauth_header. */
MUST_CHECK enum err_code gauth_identity(struct gauth *g, const char *audience, const struct budget *budget,
                                        struct arena *a, char **ret, struct err *err);

const char *gauth_source(const struct gauth *g); /* for the log: "emulator", "FIREBASE_CREDENTIALS", ... */

#endif
