/*
 * config - the environment -> struct config. One table (config.c) makes the parsing, the help text and the table in
 * the README; every value is checked once, here.
 *
 *   1. a variable that is empty counts as not set
 *   2. a name that begins with INPAINT_ and is not in the table is an error: a misspelt setting must not be ignored
 *   3. a bad value is an error that names the variable, the value (secrets excepted) and what is allowed
 *   4. rules between settings come last: the lease outlives the deadline, PUSH_AUTH has the settings it requires,
 *      emulators and Cloud Run exclude each other, and so do CUDA and f32
 *
 * Source: PROTOCOL.md 12, 2.7 and 3.6.
 */
#ifndef WORKER_BASE_CONFIG_H
#define WORKER_BASE_CONFIG_H

#include <stdbool.h>
#include <stdio.h>

#include "kernels/base/arena.h"

enum {
    CONFIG_LIST_MAX = 16,
    CONFIG_TEXT_MAX = 1024,
    CONFIG_SECRET_MAX = 32 << 10,
    CONFIG_STEPS_MAX = 1000,       /* the model's own limit is FILL_MAX_STEPS; a test compares the two */
    CONFIG_PIXELS_MAX = 200000000, /* the limit of models/image/image.h; a test compares the two */
    CONFIG_LEASE_MARGIN_S = 10
};

/* Who verifies the token of a push: this worker, Cloud Run before the push arrives, or nobody (emulators only). */
enum push_auth { PUSH_AUTH_OIDC, PUSH_AUTH_IAM, PUSH_AUTH_NONE };

/* What becomes of a push that cannot be a job. */
enum poison_policy { POISON_ACK, POISON_NACK };

/* The Firebase download tokens of a written picture. */
enum download_tokens { DOWNLOAD_TOKENS_KEEP, DOWNLOAD_TOKENS_CREATE, DOWNLOAD_TOKENS_NONE };

struct config_list {
    const char *items[CONFIG_LIST_MAX];
    int n;
};

/* Plain values. A text is NULL when it is not set; it lives in the environment or in the arena. */
struct config {
    int port;
    bool loopback_only; /* PUSH_AUTH=none */
    bool on_cloud_run;  /* K_SERVICE is set */

    char *firebase_credentials; /* secret; points into the environment, see config_forget_secrets */
    const char *credentials_file;
    const char *bucket;
    const char *project;
    const char *firestore_database; /* "(default)", or its name */
    int download_tokens;            /* enum download_tokens */

    int push_auth; /* enum push_auth */
    struct config_list push_audiences, push_accounts;
    const char *oidc_certs_url;
    const char *subscription;
    int poison;               /* enum poison_policy */
    const char *poison_topic; /* "projects/P/topics/T" */

    const char *model_dir;   /* MODEL_DIR */
    const char *weights;     /* WEIGHTS: a folder, or gs://BUCKET/PREFIX; NULL: not set */
    const char *models;      /* where the model files are: WEIGHTS, without slashes at its end, else MODEL_DIR */
    bool weights_are_remote; /* in Cloud Storage */
    const char *transformer; /* NULL: the largest that fits into memory */
    const char *loras;       /* "FILE[:SCALE],..."; NULL: none */
    int verify;              /* enum verify_mode */
    int backend;             /* enum backend_kind */
    int precision;           /* enum precision */
    int steps;
    double guidance;

    int max_pixels; /* of a photo or a mask */
    int geometry;   /* enum picture_geometry_mode */
    bool patch_match;
    int mask_grow_px, mask_feather_px; /* pixels of the photo; 0: chosen by its size */
    double mask_max_share;             /* of the photo's pixels */
    bool shadow;
    int output_jpeg; /* enum picture_output */
    bool fast_huffman;
    int second_pass; /* enum picture_second_pass */
    bool decode_jail, heic;

    int max_attempts, queue_depth;
    int max_deliveries, max_message_age_s;
    int job_deadline_s, lease_s;
    double cost_per_second;

    const char *firestore_emulator;        /* host:port */
    const char *storage_emulator;          /* "http://host:port", no slash at the end */
    const char *firebase_storage_emulator; /* host:port; storage_emulator is made of it if that is not set itself */
    const char *pubsub_emulator;           /* host:port */
    const char *metadata_host;             /* host[:port] */

    int log_level; /* enum log_level */
};

/* env: "NAME=value" strings, NULL at the end, as environ; must outlive the config. ERR_INVALID: the message names the
 * first problem. */
MUST_CHECK enum err_code config_load(char *const *env, struct arena *a, struct config *ret, struct err *err);

/* The same, but reports every problem and returns their number. ret holds the settings that are usable, and the
 * defaults of the others. */
int config_load_all(char *const *env, struct arena *a, struct config *ret,
                    void (*report)(void *ctx, const char *problem), void *ctx);

/* Overwrites the secrets in the environment, so that neither a dump nor /proc/PID/environ shows them from now on. */
void config_forget_secrets(struct config *c);

void config_print_help(FILE *to);
void config_print_markdown(FILE *to);                       /* the table of the README */
void config_print_values(const struct config *c, FILE *to); /* NAME=value, one a line; secrets as "(set)" */

#endif
