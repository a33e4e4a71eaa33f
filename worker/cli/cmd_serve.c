/*
 * cmd_serve - runs the service: settings, engine, clients, server. It serves until SIGTERM, SIGINT or SIGHUP arrives,
 * the model cannot be loaded, the device breaks or a job does not end, and then shuts down in order.
 *
 * It listens at once. Beside that, two threads load the model and ask the cloud (cloud_check); the queue opens when
 * both are done, and is held while the cloud refuses or does not answer.
 *
 * Cloud Run kills a container 10 s after SIGTERM. In that time no more pushes are accepted. The running job has
 * JOB_GRACE_MS to finish; then it is cancelled, its claim is released and its push is answered. If it does not stop,
 * the draining thread releases the claim.
 */
#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "models/codec/decode.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/cli/services.h"
#include "worker/base/config.h"
#include "worker/http/egress.h"
#include "worker/serve/handler.h"

enum {
    JOB_GRACE_MS = 5500,
    DRAIN_MS = 7500,
    CLOUD_STOP_MS = 1000,
    POLL_MS = 100,
    MAX_BODY = PUBSUB_BODY_MAX, /* bytes */
    REQUEST_ARENA = 16 << 20,   /* bytes */
    IDLE_TIMEOUT_S = 30,
    SLOW_WAIT_MS = 5000,
    SLOW_WAIT_MAX_MS = 600000,
    PROBE_CONNECTIONS = 64,     /* for /health, /ready and /metrics */
    HANDLERS_BEYOND_QUEUE = 80, /* for duplicates and bad tokens: Cloud Run sends 80 requests at once by default */
    OTHER_FILES = 96            /* of the model, the device, a job, the questions to the cloud */
};

extern char **environ;

struct service {
    struct arena arena; /* lives as long as the process */
    struct config config;
    struct services services;
    struct jwks *jwks;
    struct oidc oidc;
    struct cloud_check cloud;
    struct session_store sessions;
    struct fill_loras loras;
    struct weights *weights; /* NULL: the model is in a folder */
    struct engine *engine;
    struct job_queue queue;
    struct pipeline pipeline;
    struct metrics metrics;
    const char *version;
    struct handler handler;
    struct http_server_route routes[HANDLER_ROUTES];
    struct http_server *server;
    pthread_t loader;
    sem_t listening;          /* posted when the server listens: the loader waits for it before it reports its result */
    struct err load_error;    /* written by the loader */
    _Atomic bool load_failed; /* the loader failed and has logged why */
    atomic_int halves;        /* of being ready: the model is loaded, and the cloud was there once */
    struct start_times times;
    int64_t listening_ms, cloud_ms; /* monotonic: the server listens and the cloud is asked; the cloud was there */
    bool cloud_held;                /* the thread that asks the cloud has seen all of it */
};

/* Set by the signal handler, which may run in any thread. */
static atomic_int stop_signal;
static_assert(ATOMIC_INT_LOCK_FREE == 2, "a signal handler may only set a lock-free variable");

static void on_signal(int number)
{
    stop_signal = number;
}

/* Lets the log's thread write what it has, and then has the signal do what it does without a handler. */
static void on_crash(int number)
{
    (void)log_flush(LOG_FLUSH_MS);
    (void)raise(number);
}

static void catch_crashes(void)
{
    static const int crashes[] = { SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE };
    struct sigaction crash = { .sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND }, before;

    for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
        if (sigaction(crashes[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL) /* not a sanitizer's */
            (void)sigaction(crashes[i], &crash, NULL);
}

static void catch_signals(void)
{
    struct sigaction stop = { .sa_handler = on_signal }, ignore = { .sa_handler = SIG_IGN }, before;
    sigset_t stops;

    catch_crashes();

    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGINT, &stop, NULL);
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN) /* not under nohup */
        (void)sigaction(SIGHUP, &stop, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)sigemptyset(&stops);
    (void)sigaddset(&stops, SIGTERM);
    (void)sigaddset(&stops, SIGINT);
    (void)sigaddset(&stops, SIGHUP);
    (void)pthread_sigmask(SIG_UNBLOCK, &stops, NULL); /* whoever started the process may have blocked them */
}

/* --- putting it together --- */

static void stage_entered(void *ctx, const char *stage)
{
    struct service *s = ctx;

    start_enter_stage(&s->times, stage, sys_mono_ms(&sys_real));
}

static struct log_field log_phase(const struct service *s, const char *key, enum start_phase p)
{
    return log_seconds(key, start_phase_ms(&s->times, p));
}

static struct log_field log_part(const struct service *s, const char *key, enum cloud_part p)
{
    return log_seconds(key, s->cloud.took_ms[p]);
}

/* Phases up to the cloud, and the way to main() where it is known, add up to the total; what follows them ran beside.
 */
static void log_ready(const struct service *s)
{
    const int64_t bytes = engine_weight_bytes(s->engine), weights_ms = start_phase_ms(&s->times, START_WEIGHTS);
    const struct start_times *t = &s->times;

    log_event(LOG_NOTICE, NULL, "ready", log_seconds("totalSeconds", start_total_ms(t)),
              log_phase(s, "settingsSeconds", START_SETTINGS), log_phase(s, "contextSeconds", START_CONTEXT),
              log_phase(s, "downloadSeconds", START_DOWNLOAD), log_phase(s, "weightsSeconds", START_WEIGHTS),
              log_phase(s, "selfCheckSeconds", START_SELF_CHECK), log_phase(s, "filesSeconds", START_FILES),
              log_phase(s, "speedSeconds", START_SPEED), log_phase(s, "cloudWaitSeconds", START_CLOUD),
              log_int("weightsBytes", bytes), log_int("weightsMBPerSecond", bytes / 1000 / (weights_ms + !weights_ms)),
              log_seconds("mainToListeningSeconds", s->listening_ms - t->began_ms[START_SETTINGS]),
              log_seconds("cloudAskedSeconds", s->cloud_ms - s->listening_ms),
              log_part(s, "cloudProjectSeconds", CLOUD_PROJECT), log_part(s, "cloudTokenSeconds", CLOUD_TOKEN),
              log_part(s, "cloudDatabaseSeconds", CLOUD_DATABASE), log_part(s, "cloudBucketSeconds", CLOUD_BUCKET),
              log_part(s, "cloudTopicSeconds", CLOUD_TOPIC), log_part(s, "cloudKeysSeconds", CLOUD_KEYS),
              t->is_entered[START_PROCESS] ? log_phase(s, "containerToMainSeconds", START_PROCESS) : log_end(),
              log_end());
}

/* Logs that the worker is ready, when the second half is. */
static void half_is_ready(struct service *s)
{
    if (atomic_fetch_add(&s->halves, 1) != 1)
        return;
    start_ready(&s->times, sys_mono_ms(&sys_real));
    metrics_started(&s->metrics, &s->times);
    log_ready(s);
}

static enum err_code open_credentials(struct service *s, struct err *err)
{
    enum err_code rc = services_open_credentials(&s->services, &s->config, err);

    config_forget_secrets(&s->config);
    return rc;
}

/* Once the project is known; in the thread that asks the cloud. */
static enum err_code open_cloud(void *ctx, const char *project, struct err *err)
{
    struct service *s = ctx;
    const struct config *c = &s->config;

    log_init((enum log_level)c->log_level, project);
    return services_open(&s->services, c, project, &s->arena, err);
}

/* The cloud holds or does not; in the thread that asks it. */
static void cloud_changed(void *ctx, bool holds)
{
    struct service *s = ctx;

    if (holds && !s->cloud_held) {
        s->cloud_held = true;
        s->cloud_ms = sys_mono_ms(&sys_real);
        log_event(LOG_NOTICE, NULL, "the cloud is there", log_str("database", s->services.firestore.documents),
                  log_str("bucket", s->services.storage.bucket), log_end());
        half_is_ready(s);
    } else if (holds) {
        log_event(LOG_NOTICE, NULL, "the cloud is there again", log_end());
    }
}

static void hold_jobs(void *ctx, bool held)
{
    struct service *s = ctx;

    job_queue_hold(&s->queue, held);
}

static enum err_code open_cloud_check(struct service *s, struct err *err)
{
    const struct cloud_check_options options = { .http = s->services.http,
                                                 .gauth = s->services.gauth,
                                                 .jwks = s->jwks,
                                                 .firestore = &s->services.firestore,
                                                 .storage = &s->services.storage,
                                                 .publisher = s->config.poison_topic ? &s->services.publisher : NULL,
                                                 .database = s->config.firestore_database,
                                                 .sys = &sys_real,
                                                 .connect = open_cloud,
                                                 .changed = cloud_changed,
                                                 .hold = hold_jobs,
                                                 .ctx = s };

    return cloud_check_init(&s->cloud, &options, err);
}

/* In mode iam, whoever reaches the container past Cloud Run's check is believed. */
static void say_what_iam_trusts(void)
{
    log_event(
        LOG_NOTICE, NULL,
        "PUSH_AUTH=iam trusts Cloud Run to have verified pushes: the service must not be public. Where K_SERVICE is "
        "set, the marker SIGNATURE_REMOVED_BY_GOOGLE is accepted in place of a signature, and nothing else of the "
        "signature is checked. PUSH_AUTH=oidc is the recommended way",
        log_str("remedy",
                "make sure that nobody but the subscription's account may call the service: 'gcloud run services "
                "get-iam-policy SERVICE' must not show allUsers or allAuthenticatedUsers, and the service must "
                "not be deployed with --no-invoker-iam-check"),
        log_end());
}

/* The first question starts jailed processes, which is best done before the device is open. */
static void say_where_pictures_are_decoded(const struct config *c)
{
    const struct decode_options options = { .jail = c->decode_jail, .heic = c->heic };
    const char *why = c->decode_jail ? jail_unavailable_reason() : "DECODE_JAIL=off",
               *no_heic = decode_heic_refusal(&options);

    log_event(LOG_NOTICE, NULL,
              why ? "pictures are decoded in the worker's own process"
                  : "pictures are decoded in a process without rights",
              log_str("reason", why ? why : ""), log_str("heicRefused", no_heic ? no_heic : ""), log_end());
}

static enum err_code open_oidc(struct service *s, struct err *err)
{
    const struct config *c = &s->config;

    s->oidc = (struct oidc){ .mode = (enum push_auth)c->push_auth,
                             .on_cloud_run = c->on_cloud_run,
                             .sys = &sys_real,
                             .n_audiences = c->push_audiences.n,
                             .n_emails = c->push_accounts.n };
    memcpy(s->oidc.audiences, c->push_audiences.items, (size_t)c->push_audiences.n * sizeof *s->oidc.audiences);
    memcpy(s->oidc.emails, c->push_accounts.items, (size_t)c->push_accounts.n * sizeof *s->oidc.emails);
    if (s->oidc.mode == PUSH_AUTH_NONE)
        return ERR_OK;
    if (s->oidc.mode == PUSH_AUTH_IAM)
        say_what_iam_trusts();
    TRY(jwks_open(s->services.http, &sys_real, c->oidc_certs_url, &s->jwks, err));
    s->oidc.jwks = s->jwks;
    return oidc_check_settings(&s->oidc, err);
}

static enum err_code open_jobs(struct service *s, struct err *err)
{
    const struct config *c = &s->config;
    const struct pipeline_settings settings = { .steps = c->steps,
                                                .guidance = c->guidance,
                                                .pictures = edit_picture_settings(c),
                                                .job_deadline_ms = (int64_t)c->job_deadline_s * 1000,
                                                .cost_per_second = c->cost_per_second,
                                                .max_deliveries = c->max_deliveries,
                                                .max_message_age_ms = (int64_t)c->max_message_age_s * 1000 };

    s->sessions = (struct session_store){ .fs = &s->services.firestore,
                                          .sys = &sys_real,
                                          .lease_ms = (int64_t)c->lease_s * 1000,
                                          .max_attempts = c->max_attempts };
    s->handler = (struct handler){ .oidc = &s->oidc,
                                   .engine = s->engine,
                                   .queue = &s->queue,
                                   .pipeline = &s->pipeline,
                                   .metrics = &s->metrics,
                                   .cloud = &s->cloud,
                                   .sys = &sys_real,
                                   .version = s->version,
                                   .subscription = c->subscription,
                                   .poison = { .policy = (enum poison_policy)c->poison,
                                               .publisher = c->poison_topic ? &s->services.publisher : NULL,
                                               .max_deliveries = c->max_deliveries,
                                               .max_age_s = c->max_message_age_s,
                                               .sys = &sys_real,
                                               .n_publishing = &s->handler.n_publishing,
                                               .draining = &s->handler.draining },
                                   .job_deadline_ms = settings.job_deadline_ms };
    if (c->poison_topic)
        TRY(services_open_publisher(&s->services, c, &s->arena, err));
    return pipeline_init(&s->pipeline, s->engine, &s->sessions, &s->services.storage, &sys_real, &settings, err);
}

static enum err_code open_server(struct service *s, struct err *err)
{
    const struct config *c = &s->config;
    const int handlers = c->queue_depth + 1 + HANDLERS_BEYOND_QUEUE;
    const struct http_server_options options = {
        .port = c->port,
        .loopback_only = c->loopback_only,
        .routes = s->routes,
        .n_routes = HANDLER_ROUTES,
        .max_body_bytes = MAX_BODY,
        .arena_bytes = REQUEST_ARENA,
        .max_connections = handlers + PROBE_CONNECTIONS,
        .max_handlers = handlers,
        .other_files = OTHER_FILES + 2 * handlers + /* each may call the cloud, and look up a name for that */
                       (c->weights_are_remote ? WEIGHTS_OPEN_FILES : 0),
        .idle_timeout_s = IDLE_TIMEOUT_S,
        .sys = &sys_real,
    };

    metrics_set(&s->metrics, METRICS_START_TIME, 1e-6 * (double)sys_wall_us(&sys_real));
    handler_routes(&s->handler, s->routes);
    return http_server_start(&options, &s->server, err);
}

/* --- loading, in a thread of its own --- */

static void log_too_slow(const struct service *s)
{
    log_event(
        LOG_ERROR, NULL, "too slow to be ready: no job would end by its deadline", log_str("reason", s->load_error.msg),
        log_str("remedy", "give the service a GPU, and set BACKEND=cuda so that its absence stops the start; or set "
                          "a longer JOB_DEADLINE_SECONDS, or fewer STEPS"),
        log_str("withoutCuda", engine_without_cuda(s->engine)), log_str("kernels", engine_kernels(s->engine)),
        log_str("model", engine_model_name(s->engine)), log_end());
}

/* A worker that is too slow stays, because another process would be no faster, and measures again after ever longer
 * waits: other work on the machine may end. The probe and the log say what is wrong. */
static enum err_code wait_until_fast(struct service *s, enum err_code rc)
{
    int64_t wait_ms = SLOW_WAIT_MS, told_ms = INT64_MIN / 2;

    while (engine_status(s->engine).state == ENGINE_TOO_SLOW) {
        if (sys_mono_ms(&sys_real) - told_ms >= SLOW_WAIT_MAX_MS) {
            told_ms = sys_mono_ms(&sys_real);
            log_too_slow(s);
        }
        sys_sleep_ms(&sys_real, wait_ms);
        wait_ms = wait_ms < SLOW_WAIT_MAX_MS / 2 ? 2 * wait_ms : SLOW_WAIT_MAX_MS; /* it may last for days */
        s->load_error = (struct err){ 0 };
        rc = engine_measure_again(s->engine, &s->load_error);
    }
    return rc;
}

/* What mends a model that cannot be loaded. */
static const char *load_remedy(const struct service *s, enum err_code rc)
{
    if (rc == ERR_NOMEM)
        return "give the service more memory, or set TRANSFORMER to a smaller quantisation";
    if (strstr(s->load_error.msg, "cuda: this program was built without it"))
        return "deploy the image that the Dockerfile makes, whose program has CUDA, or set BACKEND=cpu to compute on "
               "the CPU";
    if (strncmp(s->load_error.msg, "cuda:", 5) == 0)
        return "BACKEND=cuda needs a GPU and its driver: give the service a GPU (Cloud Run: --gpu=1 "
               "--gpu-type=nvidia-l4), or set BACKEND=cpu to compute on the CPU";
    if (s->config.weights_are_remote)
        return "WEIGHTS names the prefix with the model files in Cloud Storage: the worker's service account needs "
               "roles/storage.objectViewer on that bucket; 'inpaint-worker doctor' says which part is missing or "
               "damaged";
    if (s->config.loras)
        return "MODEL_DIR names the folder with the model files, TRANSFORMER one of them, and LORAS files of that "
               "folder, of its folder loras, or paths: 'inpaint-worker doctor' says which part is missing, damaged or "
               "does not fit";
    return "MODEL_DIR names the folder with the model files, and TRANSFORMER one of them: 'inpaint-worker doctor' says "
           "which part is missing or damaged";
}

static void log_loaded(const struct service *s, int64_t ms)
{
    const struct engine *e = s->engine;
    const char *loras = engine_loras(e);
    char digests[FILL_DIGESTS_SIZE];

    engine_model_digests(e, digests);
    log_event(LOG_NOTICE, NULL, "the model is loaded", log_str("backend", engine_backend_name(e)),
              log_str("precision", engine_precision(e)), log_str("kernels", engine_kernels(e)),
              log_str("model", engine_model_name(e)), log_str("loras", loras ? loras : "none"),
              log_str("digests", digests), log_str("selfCheck", engine_self_check(e)),
              log_int("largestJobSeconds", (int64_t)ceil(engine_job_seconds(e))), log_int("ms", ms), log_end());
}

static void *load(void *arg)
{
    struct service *s = arg;
    int64_t since = sys_mono_ms(&sys_real), ms;
    enum err_code rc = engine_load(s->engine, &s->load_error);

    ms = sys_mono_ms(&sys_real) - since;
    while (sem_wait(&s->listening)) /* interrupted by a signal */
        ;
    rc = wait_until_fast(s, rc);
    if (rc) {
        log_event(LOG_CRITICAL, NULL, "the model cannot be loaded", log_str("error", s->load_error.msg),
                  log_str("remedy", load_remedy(s, rc)), log_end());
        s->load_failed = true;
        return NULL;
    }
    if (*engine_without_cuda(s->engine))
        log_event(LOG_WARNING, NULL, "computing on the CPU", log_str("reason", engine_without_cuda(s->engine)),
                  log_str("remedy", "give the service a GPU and set BACKEND=cuda, or set BACKEND=cpu if it is meant to "
                                    "have none"),
                  log_end());
    for (int i = 0; engine_note(s->engine, i); i++)
        log_event(LOG_NOTICE, NULL, "a word about the model", log_str("note", engine_note(s->engine, i)), log_end());
    for (int i = 0; engine_file_note(s->engine, i); i++)
        log_event(LOG_NOTICE, NULL, "a model file is not one that is known",
                  log_str("note", engine_file_note(s->engine, i)), log_end());
    log_loaded(s, ms);
    metrics_set(&s->metrics, METRICS_MODEL_LOADED, 1);
    metrics_set(&s->metrics, METRICS_MODEL_LOAD_SECONDS, 1e-3 * (double)ms);
    job_queue_open(&s->queue);
    start_enter(&s->times, START_CLOUD, sys_mono_ms(&sys_real));
    half_is_ready(s);
    return NULL;
}

static void warn(const char *line)
{
    log_event(LOG_WARNING, NULL, "slower than it should be", log_str("reason", line), log_end());
}

static void tell_weights(void *ctx, const struct weights_progress *p)
{
    const int64_t mb_per_s = p->ms > 0 ? p->done_bytes / p->ms / 1000 : 0;

    (void)ctx;
    log_event(p->arrived ? LOG_NOTICE : LOG_INFO, NULL,
              p->arrived ? "the weights have arrived" : "the weights are arriving", log_str("weights", p->url),
              log_int("objects", p->n_objects), log_int("bytes", p->done_bytes), log_int("ofBytes", p->total_bytes),
              log_int("ms", p->ms), log_int("megabytesPerSecond", mb_per_s), log_int("retries", p->retries), log_end());
}

/* Loading takes longest, so it begins first. It needs neither the database nor keys, which may be slow to arrive; a
 * model in Cloud Storage needs a token. */
static enum err_code start_loading(struct service *s, struct err *err)
{
    const struct config *c = &s->config;
    struct engine_options engine = { .model_dir = c->models,
                                     .transformer = c->transformer,
                                     .loras = &s->loras,
                                     .verify = (enum verify_mode)c->verify,
                                     .backend = (enum backend_kind)c->backend,
                                     .precision = (enum precision)c->precision,
                                     .max_steps = c->steps,
                                     .deadline_s = c->job_deadline_s,
                                     .warn = warn,
                                     .entered = stage_entered,
                                     .entered_ctx = s };

    if (c->loras && fill_loras_add(&s->loras, c->loras, err))
        return err_prefix(err, "LORAS");
    TRY(services_open_weights(&s->services, c, tell_weights, NULL, &s->weights, err));
    engine.weights = s->weights;
    TRY(engine_new(&engine, &s->engine, err));
    TRY(job_queue_init(&s->queue, c->queue_depth, err));
    job_queue_hold(&s->queue, true);
    if (sem_init(&s->listening, 0, 0) || pthread_create(&s->loader, NULL, load, s))
        return err_set(err, ERR_NOMEM, "the thread that loads the model cannot be started");
    return ERR_OK;
}

/* --- the end --- */

static void wait_for_the_end(struct service *s)
{
    const struct timespec nap = { 0, POLL_MS * 1000000L };

    while (!stop_signal && !s->handler.fault && !s->load_failed && engine_status(s->engine).state != ENGINE_BROKEN) {
        (void)nanosleep(&nap, NULL);
        if (pipeline_is_stuck(&s->pipeline)) {
            log_event(LOG_CRITICAL, NULL, "a job does not end", log_end());
            s->handler.fault = true;
        }
    }
}

/* Returns true when every thread has ended and everything may be freed. With a broken device it returns false, because
 * a call into the driver may never return. */
static bool drain(struct service *s)
{
    const char *why = stop_signal      ? "a signal"
                      : s->load_failed ? "the model cannot be loaded"
                                       : "a fault: see the lines above";
    int64_t until = sys_mono_ms(&sys_real) + DRAIN_MS;
    bool cloud_ended;

    log_event(LOG_NOTICE, NULL, "draining", log_int("signal", stop_signal), log_str("reason", why), log_end());
    s->handler.draining = true;
    http_server_drain(s->server);
    job_queue_close(&s->queue);
    pipeline_stop(&s->pipeline, JOB_GRACE_MS);
    cloud_ended = cloud_check_stop(&s->cloud, CLOUD_STOP_MS);
    while (job_queue_busy(&s->queue) && sys_mono_ms(&sys_real) < until - 1000)
        sys_sleep_ms(&sys_real, 20);
    if (job_queue_busy(&s->queue))
        pipeline_abandon(&s->pipeline);
    return http_server_stop(s->server, until - sys_mono_ms(&sys_real)) && cloud_ended &&
           engine_status(s->engine).state == ENGINE_READY;
}

static void free_service(struct service *s)
{
    (void)pthread_join(s->loader, NULL);
    (void)sem_destroy(&s->listening);
    cloud_check_done(&s->cloud);
    pipeline_done(&s->pipeline);
    job_queue_done(&s->queue);
    engine_free(s->engine);
    weights_free(s->weights);
    jwks_close(s->jwks);
    gauth_close(s->services.gauth);
    http_client_close(s->services.http);
    arena_done(&s->arena);
}

static void log_bad_setting(void *ctx, const char *problem)
{
    (void)ctx;
    log_event(LOG_CRITICAL, NULL, "bad setting", log_str("problem", problem), log_end());
}

/* Logs the error of a part that is made from settings. Returns how many problems that makes. */
static int count_problem(enum err_code rc, const struct err *why)
{
    if (rc)
        log_bad_setting(NULL, why->msg);
    return rc != ERR_OK;
}

/* All that is wrong, a line each, so that one start is enough to find it: also what is wrong with the files that the
 * settings name, the key of the account and the authorities. */
static enum err_code load_settings(struct service *s, struct err *err)
{
    int n = config_load_all(environ, &s->arena, &s->config, log_bad_setting, NULL);
    int n_egress = egress_problems(log_bad_setting, NULL);
    struct err why = { 0 };

    n += n_egress ? n_egress : count_problem(http_client_open(&s->services.http, &why), &why);
    why = (struct err){ 0 };
    n += count_problem(open_credentials(s, &why), &why);
    if (n)
        return err_set(err, ERR_INVALID,
                       "%d %s wrong: see the line%s above; 'inpaint-worker serve --help' explains all "
                       "settings",
                       n, n == 1 ? "setting is" : "settings are", n == 1 ? "" : "s");
    log_init((enum log_level)s->config.log_level, NULL);
    return ERR_OK;
}

static enum err_code start(struct service *s, struct err *err)
{
    s->version = log_version(); /* before the log takes the revision for it */
    log_service(getenv("K_SERVICE"), getenv("K_REVISION"));
    log_init(LOG_INFO, NULL);
    TRY(arena_init(&s->arena, 4 << 20, err));
    TRY(load_settings(s, err));
    say_where_pictures_are_decoded(&s->config);
    TRY(open_oidc(s, err));
    TRY(start_loading(s, err));
    TRY(open_jobs(s, err));
    TRY(open_cloud_check(s, err));
    TRY(open_server(s, err));
    s->listening_ms = sys_mono_ms(&sys_real);
    return cloud_check_start(&s->cloud, err);
}

/* The loader may still be running, so nothing is freed. The reason is in the log, and once is enough. */
static int not_started(const struct err *err)
{
    log_event(LOG_CRITICAL, NULL, "cannot start", log_str("error", err->msg), log_end());
    return CLI_FAILED;
}

static int serve(void)
{
    static struct service s; /* static: threads that never end may still use it */
    struct err err = { 0 };
    bool failed;

    start_main(&s.times, start_own_age_ms(), sys_mono_ms(&sys_real));
    catch_signals();
    if (start(&s, &err))
        return not_started(&err);
    log_event(LOG_NOTICE, NULL, "listening", log_int("port", http_server_port(s.server)),
              log_str("credentials", gauth_source(s.services.gauth)), log_end());
    (void)sem_post(&s.listening);
    wait_for_the_end(&s);
    failed = !stop_signal;
    if (drain(&s))
        free_service(&s);
    log_event(LOG_NOTICE, NULL, "ended", log_int("status", failed), log_end());
    return failed ? CLI_FAILED : CLI_DONE;
}

int cmd_serve(int argc, char **argv)
{
    bool table = false;
    const struct cli_option options[] = {
        { "--settings-table", CLI_FLAG, &table, NULL, .help = "print the table of settings for the README" },
    };
    const struct cli_command command = { "serve", "runs the HTTP service; settings come from the environment", options,
                                         .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);

    if (status == CLI_DONE) { /* --help */
        (void)printf("\n");
        config_print_help(stdout);
    }
    if (status != CLI_RUN)
        return status;
    if (table) {
        config_print_markdown(stdout);
        return CLI_DONE;
    }
    return serve();
}
