/*
 * cmd_doctor - is everything there for `serve`? Settings, credentials, model files, memory, backend; with --online also
 * whether Google answers. Says what is wrong and how to mend it, one finding after the other; never shows a secret.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/backend.h"
#include "models/fill/fill.h"
#include "models/fill/model_folder.h"
#include "models/fill/self_check.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/base/config.h"
#include "worker/google/gauth.h"
#include "worker/http/http_client.h"
#include "worker/auth/jwks.h"
#include "worker/auth/oidc.h"

enum { ARENA_BYTES = 256 << 20, ONLINE_MS = 15000, PICTURE_SIDE = 1024, CHECK_SIDE = 64, CHECK_T5_LEN = 64 };

struct doctor {
    struct arena arena;
    struct config cfg;
    int wrong;
};

/* ---- findings ---- */

static void finding(const char *verdict, const char *what, const char *text)
{
    (void)printf("%-6s %-15s %s\n", verdict, what, text);
}

static void good(const char *what, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void good(const char *what, const char *fmt, ...)
{
    char text[600];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    finding("ok", what, text);
}

static void wrong(struct doctor *d, const char *what, const char *text, const char *mend)
{
    d->wrong++;
    finding("wrong", what, text);
    if (mend)
        finding("", "", mend);
}

/* ---- settings and credentials ---- */

static void tell_setting(void *ctx, const char *problem)
{
    wrong(ctx, "settings", problem, NULL);
}

static void check_settings(struct doctor *d)
{
    if (config_load_all(environ, &d->arena, &d->cfg, tell_setting, d) == 0)
        good("settings", "%s", d->cfg.on_cloud_run ? "for Cloud Run" : "for a machine of your own");
    else
        finding("", "", "-> 'inpaint-worker serve --help' explains each; doctor --values shows what was understood");
}

static struct gauth *check_credentials(struct doctor *d, struct http *http)
{
    struct gauth_options o = {
        .http = http,
        .sys = &sys_real,
        .emulator = { [GAUTH_FIRESTORE] = d->cfg.firestore_emulator, [GAUTH_STORAGE] = d->cfg.storage_emulator },
        .firebase_credentials = d->cfg.firebase_credentials,
        .credentials_file = d->cfg.credentials_file,
        .project = d->cfg.project,
        .metadata_host = d->cfg.metadata_host,
    };
    struct gauth *g = NULL;
    struct err err = { 0 };

    if (gauth_open(&o, &g, &err) == ERR_OK)
        good("credentials", "from %s", gauth_source(g));
    else
        wrong(
            d, "credentials", err.msg,
            "-> FIREBASE_CREDENTIALS takes the base64 of a service account's JSON key, GOOGLE_APPLICATION_CREDENTIALS "
            "its path; on Cloud Run set neither");
    return g;
}

static void check_keys_online(struct doctor *d, struct http *http, const struct budget *budget)
{
    struct jwks *jwks = NULL;
    struct err err = { 0 };
    enum err_code rc =
        jwks_open(http, &sys_real, d->cfg.oidc_certs_url, strncmp(d->cfg.oidc_certs_url, "http:", 5) == 0, &jwks, &err);

    if (!rc)
        rc = jwks_prefetch(jwks, budget, &err);
    if (rc)
        wrong(d, "push keys", err.msg,
              "-> tokens of pushes cannot be checked without them: is the way to OIDC_CERTS_URL open?");
    else
        good("push keys", "%d at %s", jwks_count(jwks, &(int64_t){ 0 }), d->cfg.oidc_certs_url);
    jwks_close(jwks);
}

static void check_online(struct doctor *d, struct http *http, struct gauth *g)
{
    struct budget budget = { .sys = &sys_real, .deadline_mono_ms = sys_mono_ms(&sys_real) + ONLINE_MS };
    const char *project, *header;
    struct err err = { 0 };

    if (d->cfg.push_auth != PUSH_AUTH_NONE)
        check_keys_online(d, http, &budget);
    if (!g)
        return;
    if (gauth_project(g, &budget, &project, &err))
        wrong(d, "project", err.msg, "-> set GOOGLE_CLOUD_PROJECT");
    else
        good("project", "%s", project);
    err = (struct err){ 0 };
    if (gauth_header(g, GAUTH_FIRESTORE, &budget, &d->arena, &header, &err))
        wrong(d, "access token", err.msg, "-> is the key still valid, and the clock of this machine right?");
    else
        good("access token", "can be had");
}

/* ---- the model ---- */

static double gib(double bytes)
{
    return bytes / ((int64_t)1 << 30);
}

/* A prompt pack stands in for everything that reads text. */
static bool is_needed(enum model_part part, bool has_prompts)
{
    return part != MODEL_PROMPTS && (!has_prompts || part == MODEL_TRANSFORMER || part == MODEL_VAE);
}

/* Returns how many parts are missing or broken. */
static int check_parts(struct doctor *d, const struct model_folder *folder)
{
    struct model_found found;
    bool has_prompts = model_folder_find(folder, MODEL_PROMPTS, &d->arena, &found, NULL) == ERR_OK;
    int before = d->wrong;

    if (access(folder->dir, R_OK | X_OK) != 0) {
        wrong(d, "model folder", folder->dir, "-> it is not there or cannot be read: let MODEL_DIR say where it is");
        return 1;
    }
    for (int part = 0; part < MODEL_PART_COUNT; part++) {
        struct err err = { 0 };
        enum err_code rc = model_folder_find(folder, (enum model_part)part, &d->arena, &found, &err);

        if (rc == ERR_OK)
            good(model_part_name((enum model_part)part), "%s", found.path);
        else if (is_needed((enum model_part)part, has_prompts))
            wrong(d, model_part_name((enum model_part)part), err.msg,
                  rc == ERR_NOT_FOUND ? "-> put it into MODEL_DIR"
                                      : "-> the file is damaged or of another kind: fetch it again");
    }
    return d->wrong - before;
}

static void tell_card(struct backend *be)
{
    struct backend_card card;
    char power[48] = "";

    if (!backend_card(be, &card))
        return;
    if (card.power_limit_w > 0)
        (void)snprintf(power, sizeof power, ", at most %.0f W", card.power_limit_w);
    good("card", "%s, driver %s, %s%s", card.name, card.driver[0] ? card.driver : "unknown", card.libraries, power);
}

/* Opened once; NULL when it cannot be. */
static struct backend *check_backend(struct doctor *d)
{
    struct backend *be = NULL;
    struct err err = { 0 };

    if (backend_open((enum backend_kind)d->cfg.backend, (enum precision)d->cfg.precision, &be, &err))
        wrong(d, "backend", err.msg, "-> BACKEND=auto takes what there is; CUDA needs the driver and a device");
    else
        good("backend", "%s, %s%s%s", be->name, backend_precision(be), *backend_describe(be) ? ", " : "",
             backend_describe(be));
    if (be)
        tell_card(be);
    return be;
}

/* The whole model on a backend that computes nothing: every tensor is looked for, every shape checked. */
static void check_model(struct doctor *d, const struct model_folder *folder, struct backend *be)
{
    const struct fill_options o = { .transformer = folder->transformer,
                                    .max_width = PICTURE_SIDE,
                                    .max_height = PICTURE_SIDE,
                                    .max_steps = d->cfg.steps,
                                    .max_t5_len = FILL_MAX_T5_LEN };
    struct fill_memory m = { 0 };
    struct err err = { 0 };
    enum err_code rc = fill_memory_estimate(folder->dir, &o, be, &m, &err);

    if (rc == ERR_NOMEM)
        wrong(d, "memory", err.msg,
              "-> a smaller quantisation, or a prompt pack in place of T5 (README, Model folder)");
    else if (rc)
        wrong(d, "model", err.msg, "-> the parts do not make one FLUX.1-Fill: fetch the part that is named");
    if (rc)
        return;
    good("model", "%.2f GiB of weights, %.2f GiB for a picture of %d x %d", gib((double)m.weights),
         gib((double)m.request), PICTURE_SIDE, PICTURE_SIDE);
    if (m.available >= 0)
        good("memory", "%.2f GiB are free on %s", gib((double)m.available), be->name);
    if (m.available >= 0 && m.available < m.weights + m.request)
        finding("note", "memory", "that is less than a job takes: the files will be read again in every step");
}

/* The model on the backend that will compute, and its values compared with those stored, which are stored now if there
 * are none. */
static void check_values(struct doctor *d)
{
    const struct fill_options o = { .transformer = d->cfg.transformer,
                                    .max_width = CHECK_SIDE,
                                    .max_height = CHECK_SIDE,
                                    .max_steps = 1,
                                    .max_t5_len = CHECK_T5_LEN };
    struct self_check check = { 0 };
    struct fill_model *m = NULL;
    struct backend *be = NULL;
    struct err err = { 0 };
    enum err_code rc = backend_open((enum backend_kind)d->cfg.backend, (enum precision)d->cfg.precision, &be, &err);

    if (!rc)
        be->warn = cli_warn;
    if (!rc)
        rc = fill_model_open(d->cfg.model_dir, &o, be, &m, &err);
    if (!rc)
        rc = self_check_run(m, &check, &err);
    if (rc)
        wrong(d, "self-check", err.msg, "-> fetch the model files again; if they are right, delete that .check file");
    else if (check.stored)
        good("self-check", "as stored, %s within %.1g", check.what, check.worst);
    else if (self_check_record(m, &err) == ERR_OK)
        good("self-check", "values stored beside %s: from now on they must come out", fill_model_transformer(m));
    else
        finding("note", "self-check", err.msg);
    fill_model_close(m);
    backend_close(be);
}

/* ---- the command ---- */

static int examine(struct doctor *d, bool online, bool check)
{
    struct http *http = NULL;
    struct gauth *g = NULL;
    struct err err = { 0 };
    enum err_code rc = http_client_open(&http, &err);
    struct model_folder folder;
    struct backend *be;

    if (rc)
        return cli_fail("doctor", &err);
    check_settings(d);
    g = check_credentials(d, http);
    if (online)
        check_online(d, http, g);
    folder = (struct model_folder){ .dir = d->cfg.model_dir, .transformer = d->cfg.transformer };
    be = check_backend(d);
    if (check_parts(d, &folder) == 0)
        check_model(d, &folder, be);
    backend_close(be);
    if (check && !d->wrong)
        check_values(d);
    config_forget_secrets(&d->cfg);
    gauth_close(g);
    http_client_close(http);
    if (d->wrong)
        (void)printf("\nwrong: %d\n", d->wrong);
    else
        (void)printf("\nEverything is there.\n");
    return d->wrong ? CLI_FAILED : CLI_DONE;
}

static void tell_nobody(void *ctx, const char *problem)
{
    (void)ctx, (void)problem;
}

int cmd_doctor(int argc, char **argv)
{
    bool online = false, values = false, check = false;
    const struct cli_option options[] = {
        { "--online", CLI_FLAG, &online, NULL, .help = "also ask for an access token and the keys of pushes" },
        { "--values", CLI_FLAG, &values, NULL,
          .help = "only show the settings as they were understood, secrets left out" },
        { "--self-check", CLI_FLAG, &check, NULL,
          .help = "also compute: compare with the values stored beside the transformer, or store them" },
    };
    struct doctor d = { .wrong = 0 };
    struct err err = { 0 };
    int status = cli_parse(&(struct cli_command){ "doctor", "checks everything that serve needs", options,
                                                  .n_options = CLI_COUNT(options) },
                           argc, argv);

    if (status != CLI_RUN)
        return status;
    if (arena_init(&d.arena, ARENA_BYTES, &err))
        return cli_fail("doctor", &err);
    if (values) {
        (void)config_load_all(environ, &d.arena, &d.cfg, tell_nobody, NULL);
        config_print_values(&d.cfg, stdout);
        status = CLI_DONE;
    } else {
        status = examine(&d, online, check);
    }
    arena_done(&d.arena);
    return status;
}
