#include "worker/cli/services.h"

enum err_code services_open_credentials(struct services *s, const struct config *c, struct err *err)
{
    const struct gauth_options options = {
        .http = s->http,
        .sys = &sys_real,
        .emulator = { [GAUTH_FIRESTORE] = c->firestore_emulator != NULL,
                      [GAUTH_STORAGE] = c->storage_emulator != NULL,
                      [GAUTH_PUBSUB] = c->pubsub_emulator != NULL },
        .uses_pubsub = c->poison_topic != NULL,
        .firebase_credentials = c->firebase_credentials,
        .credentials_file = c->credentials_file,
        .project = c->project,
        .metadata_host = c->metadata_host,
    };

    return gauth_open(&options, &s->gauth, err);
}

enum err_code services_open(struct services *s, const struct config *c, const char *project, struct arena *a,
                            struct err *err)
{
    const struct firestore_options firestore = { .http = s->http,
                                                 .gauth = s->gauth,
                                                 .project = project,
                                                 .database = c->firestore_database,
                                                 .emulator_host = c->firestore_emulator };
    const struct storage_options storage = { .http = s->http,
                                             .gauth = s->gauth,
                                             .sys = &sys_real,
                                             .bucket = c->bucket,
                                             .tokens = (enum download_tokens)c->download_tokens,
                                             .emulator_host = c->storage_emulator,
                                             .firebase_emulator_host = c->firebase_storage_emulator };

    TRY(firestore_init(&s->firestore, &firestore, a, err));
    return storage_init(&s->storage, &storage, a, err);
}

enum err_code services_open_publisher(struct services *s, const struct config *c, struct arena *a, struct err *err)
{
    const struct publisher_options options = {
        .http = s->http, .gauth = s->gauth, .topic = c->poison_topic, .emulator_host = c->pubsub_emulator
    };

    return publisher_init(&s->publisher, &options, a, err);
}

enum err_code services_open_weights(const struct services *s, const struct config *c,
                                    void (*told)(void *ctx, const struct weights_progress *p), void *ctx,
                                    struct weights **ret, struct err *err)
{
    const struct weights_options options = { .http = s->http,
                                             .gauth = s->gauth,
                                             .sys = &sys_real,
                                             .url = c->models,
                                             .emulator_host = c->storage_emulator,
                                             .told = told,
                                             .ctx = ctx };

    *ret = NULL;
    return c->weights_are_remote ? weights_new(&options, ret, err) : ERR_OK;
}
