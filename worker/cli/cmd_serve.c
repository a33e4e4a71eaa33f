/*
 * cmd_serve - runs the service: settings, engine, clients, server. It serves until SIGTERM arrives, the model cannot be
 * loaded, the device breaks or a job does not end, and then shuts down in order.
 *
 * Cloud Run kills a container 10 s after SIGTERM. In that time no more pushes are accepted. The running job has
 * JOB_GRACE_MS to finish; then it is cancelled, its claim is released and its push is answered. If it does not stop,
 * the draining thread releases the claim. A start that is waiting for other services is abandoned.
 */
#include <assert.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/base/config.h"
#include "worker/serve/handler.h"

enum {
    JOB_GRACE_MS = 5500,
    DRAIN_MS = 7500,
    POLL_MS = 100,
    MAX_BODY = PUBSUB_BODY_MAX, /* bytes */
    REQUEST_ARENA = 16 << 20,   /* bytes */
    IDLE_TIMEOUT_S = 30,
    START_BUDGET_MS = 20000,
    PROBE_CONNECTIONS = 64,   /* for /health, /ready and /metrics */
    HANDLERS_BEYOND_QUEUE = 8 /* duplicates and bad tokens are answered while the queue is full */
};

extern char **environ;

struct service {
    struct arena arena; /* lives as long as the process */
    struct config config;
    struct http *http;
    struct gauth *gauth;
    struct jwks *jwks;
    struct oidc oidc;
    struct firestore firestore;
    struct storage storage;
    struct session_store sessions;
    struct engine *engine;
    struct job_queue queue;
    struct pipeline pipeline;
    struct metrics metrics;
    struct handler handler;
    struct http_server_route routes[HANDLER_ROUTES];
    struct http_server *server;
    pthread_t loader;
    sem_t listening;          /* posted when the server listens: the loader waits for it before it reports its result */
    struct err load_error;    /* written by the loader */
    _Atomic bool load_failed; /* the loader failed and has logged why */
};

/* Set by the signal handler, which may run in any thread. */
static atomic_int stop_signal;
static_assert(ATOMIC_INT_LOCK_FREE == 2, "a signal handler may only set a lock-free variable");

static void on_signal(int number)
{
    stop_signal = number;
}

static void catch_signals(void)
{
    struct sigaction stop = { .sa_handler = on_signal }, ignore = { .sa_handler = SIG_IGN };

    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGINT, &stop, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
}

static bool stop_requested(void *ctx)
{
    (void)ctx;
    return stop_signal;
}

/* --- putting it together --- */

/* Time budget for all calls to other services during the start. */
static struct budget start_budget(void)
{
    return (struct budget){ .sys = &sys_real,
                            .deadline_mono_ms = sys_mono_ms(&sys_real) + START_BUDGET_MS,
                            .cancelled = stop_requested };
}

static enum err_code open_cloud(struct service *s, struct err *err)
{
    const struct config *c = &s->config;
    const struct gauth_options options = {
        .http = s->http,
        .sys = &sys_real,
        .emulator = { c->firestore_emulator != NULL, c->storage_emulator != NULL },
        .firebase_credentials = c->firebase_credentials,
        .credentials_file = c->credentials_file,
        .project = c->project,
        .metadata_host = c->metadata_host,
    };
    struct budget budget = start_budget();
    const char *project = NULL;
    enum err_code rc = gauth_open(&options, &s->gauth, err);

    config_forget_secrets(&s->config);
    TRY(rc);
    TRY(gauth_project(s->gauth, &budget, &project, err));
    log_init((enum log_level)c->log_level, project);
    TRY(firestore_init(&s->firestore,
                       &(struct firestore_options){ .http = s->http,
                                                    .gauth = s->gauth,
                                                    .project = project,
                                                    .emulator_host = c->firestore_emulator,
                                                    .database = c->firestore_database },
                       &s->arena, err));
    return storage_init(&s->storage,
                        &(struct storage_options){ .http = s->http,
                                                   .gauth = s->gauth,
                                                   .sys = &sys_real,
                                                   .bucket = c->bucket,
                                                   .emulator_host = c->storage_emulator,
                                                   .firebase_emulator_host = c->firebase_storage_emulator },
                        &s->arena, err);
}

static enum err_code open_oidc(struct service *s, struct err *err)
{
    const struct config *c = &s->config;
    struct budget budget = start_budget();
    struct err late = { 0 };

    s->oidc = (struct oidc){ .mode = (enum push_auth)c->push_auth,
                             .on_cloud_run = c->on_cloud_run,
                             .sys = &sys_real,
                             .n_audiences = c->push_audiences.n,
                             .n_emails = c->push_accounts.n };
    memcpy(s->oidc.audiences, c->push_audiences.items, (size_t)c->push_audiences.n * sizeof *s->oidc.audiences);
    memcpy(s->oidc.emails, c->push_accounts.items, (size_t)c->push_accounts.n * sizeof *s->oidc.emails);
    if (s->oidc.mode == PUSH_AUTH_NONE)
        return ERR_OK;
    TRY(jwks_open(s->http, &sys_real, c->oidc_certs_url, &s->jwks, err));
    s->oidc.jwks = s->jwks;
    TRY(oidc_check_settings(&s->oidc, err));
    if (jwks_prefetch(s->jwks, &budget, &late)) /* not fatal: the next push fetches them again */
        log_event(LOG_WARNING, NULL, "the keys of the token's issuer cannot be fetched yet", log_str("error", late.msg),
                  log_end());
    return ERR_OK;
}

static enum err_code open_jobs(struct service *s, struct err *err)
{
    const struct config *c = &s->config;
    const struct pipeline_settings settings = { .steps = c->steps,
                                                .guidance = c->guidance,
                                                .job_deadline_ms = (int64_t)c->job_deadline_s * 1000,
                                                .cost_per_second = c->cost_per_second,
                                                .max_deliveries = c->max_deliveries,
                                                .max_message_age_ms = (int64_t)c->max_message_age_s * 1000 };

    s->sessions = (struct session_store){
        .fs = &s->firestore, .sys = &sys_real, .lease_ms = (int64_t)c->lease_s * 1000, .max_attempts = c->max_attempts
    };
    s->handler = (struct handler){ .oidc = &s->oidc,
                                   .engine = s->engine,
                                   .queue = &s->queue,
                                   .pipeline = &s->pipeline,
                                   .metrics = &s->metrics,
                                   .sys = &sys_real,
                                   .subscription = c->subscription,
                                   .job_deadline_ms = settings.job_deadline_ms };
    return pipeline_init(&s->pipeline, s->engine, &s->sessions, &s->storage, &sys_real, &settings, err);
}

static enum err_code open_server(struct service *s, struct err *err)
{
    const struct config *c = &s->config;
    const struct http_server_options options = {
        .port = c->port,
        .loopback_only = c->loopback_only,
        .routes = s->routes,
        .n_routes = HANDLER_ROUTES,
        .max_body_bytes = MAX_BODY,
        .arena_bytes = REQUEST_ARENA,
        .max_connections = c->queue_depth + 1 + HANDLERS_BEYOND_QUEUE + PROBE_CONNECTIONS,
        .max_handlers = c->queue_depth + 1 + HANDLERS_BEYOND_QUEUE,
        .idle_timeout_s = IDLE_TIMEOUT_S,
        .sys = &sys_real,
    };

    metrics_set(&s->metrics, METRICS_START_TIME, 1e-6 * (double)sys_wall_us(&sys_real));
    handler_routes(&s->handler, s->routes);
    return http_server_start(&options, &s->server, err);
}

/* --- loading, in a thread of its own --- */

static void *load(void *arg)
{
    struct service *s = arg;
    int64_t since = sys_mono_ms(&sys_real), ms;
    enum err_code rc = engine_load(s->engine, &s->load_error);

    ms = sys_mono_ms(&sys_real) - since;
    while (sem_wait(&s->listening)) /* interrupted by a signal */
        ;
    if (rc) {
        log_event(LOG_CRITICAL, NULL, "the model cannot be loaded", log_str("error", s->load_error.msg), log_end());
        s->load_failed = true;
        return NULL;
    }
    if (*engine_without_cuda(s->engine))
        log_event(LOG_WARNING, NULL, "computing on the CPU", log_str("reason", engine_without_cuda(s->engine)),
                  log_end());
    log_event(LOG_NOTICE, NULL, "ready", log_str("backend", engine_backend_name(s->engine)),
              log_str("precision", engine_precision(s->engine)), log_str("kernels", engine_kernels(s->engine)),
              log_str("model", engine_model_name(s->engine)), log_str("selfCheck", engine_self_check(s->engine)),
              log_int("ms", ms), log_end());
    metrics_set(&s->metrics, METRICS_MODEL_LOADED, 1);
    metrics_set(&s->metrics, METRICS_MODEL_LOAD_SECONDS, 1e-3 * (double)ms);
    job_queue_open(&s->queue);
    return NULL;
}

static void warn(const char *line)
{
    log_event(LOG_WARNING, NULL, "slower than it should be", log_str("reason", line), log_end());
}

/* Loading takes longest, so it begins first. It does not need the credentials and keys, which may be slow to arrive. */
static enum err_code start_loading(struct service *s, struct err *err)
{
    const struct config *c = &s->config;
    const struct engine_options engine = { .model_dir = c->model_dir,
                                           .transformer = c->transformer,
                                           .backend = (enum backend_kind)c->backend,
                                           .precision = (enum precision)c->precision,
                                           .max_steps = c->steps,
                                           .warn = warn };

    TRY(engine_new(&engine, &s->engine, err));
    TRY(job_queue_init(&s->queue, c->queue_depth, err));
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
    int64_t until = sys_mono_ms(&sys_real) + DRAIN_MS;

    log_event(LOG_NOTICE, NULL, "draining", log_int("signal", stop_signal), log_end());
    s->handler.draining = true;
    http_server_drain(s->server);
    job_queue_close(&s->queue);
    pipeline_stop(&s->pipeline, JOB_GRACE_MS);
    while (job_queue_busy(&s->queue) && sys_mono_ms(&sys_real) < until - 1000)
        sys_sleep_ms(&sys_real, 20);
    if (job_queue_busy(&s->queue))
        pipeline_abandon(&s->pipeline);
    return http_server_stop(s->server, until - sys_mono_ms(&sys_real)) &&
           engine_status(s->engine).state == ENGINE_READY;
}

static void free_service(struct service *s)
{
    (void)pthread_join(s->loader, NULL);
    (void)sem_destroy(&s->listening);
    pipeline_done(&s->pipeline);
    job_queue_done(&s->queue);
    engine_free(s->engine);
    jwks_close(s->jwks);
    gauth_close(s->gauth);
    http_client_close(s->http);
    arena_done(&s->arena);
}

static enum err_code start(struct service *s, struct err *err)
{
    log_init(LOG_INFO, NULL);
    TRY(arena_init(&s->arena, 4 << 20, err));
    TRY(config_load(environ, &s->arena, &s->config, err));
    TRY(start_loading(s, err));
    TRY(http_client_open(&s->http, err));
    TRY(open_cloud(s, err));
    TRY(open_oidc(s, err));
    TRY(open_jobs(s, err));
    return open_server(s, err);
}

/* The loader may still be running, so nothing is freed. */
static int not_started(const struct cli_command *c, const struct err *err)
{
    if (stop_signal) {
        log_event(LOG_NOTICE, NULL, "stopped by a signal before the start was complete", log_int("signal", stop_signal),
                  log_str("error", err->msg), log_end());
        return CLI_DONE;
    }
    log_event(LOG_CRITICAL, NULL, "cannot start", log_str("error", err->msg), log_end());
    return cli_fail(c, err);
}

static int serve(const struct cli_command *c)
{
    static struct service s; /* static: threads that never end may still use it */
    struct err err = { 0 };
    bool failed;

    catch_signals();
    if (start(&s, &err))
        return not_started(c, &err);
    log_event(LOG_NOTICE, NULL, "listening", log_int("port", http_server_port(s.server)),
              log_str("credentials", gauth_source(s.gauth)), log_end());
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
    return serve(&command);
}
