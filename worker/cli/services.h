/*
 * services - the clients of Google's services as the settings name them: once for `serve`, which uses them, and for
 * `doctor`, which tries them. All that is opened lives in the arena, the credentials excepted.
 */
#ifndef WORKER_CLI_SERVICES_H
#define WORKER_CLI_SERVICES_H

#include "worker/base/config.h"
#include "worker/google/firestore.h"
#include "worker/google/publish.h"
#include "worker/google/storage.h"
#include "worker/weights/weights.h"

struct services {
    struct http *http;   /* the caller's */
    struct gauth *gauth; /* NULL until services_open_credentials(); the caller closes it */
    struct firestore firestore;
    struct storage storage;     /* its bucket is NULL where no setting names one */
    struct publisher publisher; /* where POISON_TOPIC is set */
};

/* Reads and checks the credentials; sends nothing. The errors of gauth_open(). */
MUST_CHECK enum err_code services_open_credentials(struct services *s, const struct config *c, struct err *err);

/* Firestore and Storage, once the project is known. ERR_INVALID: a setting. */
MUST_CHECK enum err_code services_open(struct services *s, const struct config *c, const char *project, struct arena *a,
                                       struct err *err);

/* Where POISON_TOPIC is set. ERR_INVALID: a setting. */
MUST_CHECK enum err_code services_open_publisher(struct services *s, const struct config *c, struct arena *a,
                                                 struct err *err);

/* Where WEIGHTS is in Cloud Storage; else *ret is NULL. It sends nothing. `told` as in struct weights_options.
 * ERR_INVALID, ERR_NOMEM. */
MUST_CHECK enum err_code services_open_weights(const struct services *s, const struct config *c,
                                               void (*told)(void *ctx, const struct weights_progress *p), void *ctx,
                                               struct weights **ret, struct err *err);

#endif
