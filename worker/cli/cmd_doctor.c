/*
 * cmd_doctor - checks everything that `serve` needs: settings, credentials, model files, memory, backend, and whether
 * the cloud lets the worker do its jobs. It goes on after a problem, says how to fix it, and never shows a secret.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/backend.h"
#include "kernels/base/file.h"
#include "models/codec/decode.h"
#include "models/fill/fill.h"
#include "models/fill/lora_set.h"
#include "models/fill/model_folder.h"
#include "models/fill/self_check.h"
#include "worker/base/config.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/cli/progress.h"
#include "worker/cli/services.h"
#include "worker/google/access.h"
#include "worker/http/egress.h"
#include "worker/http/http_client.h"
#include "worker/push/printable.h"
#include "worker/serve/cloud_check.h"
#include "worker/verify/model_files.h"
#include "worker/weights/weights_choice.h"

enum {
    ARENA_BYTES = 256 << 20,
    ONLINE_MS = 40000,   /* for all the requests to the cloud together */
    PICTURE_SIDE = 1024, /* pixels: the largest that `serve` paints, for the estimate of memory */
    CHECK_SIDE = 64,     /* pixels: the picture of the self-check */
    CHECK_T5_LEN = 64,
    SLOW_FILE_BYTES = 1000000000 /* from here on, how far a digest has come is shown */
};

struct args {
    bool online, offline, values, self_check;
};

struct run {
    struct arena arena;
    struct config cfg;
    struct services services;
    struct weights *weights; /* NULL: the model is in a folder */
    struct progress fetching;
    struct backend *be;
    struct fill_loras loras;
    int n_wrong;   /* findings, */
    int n_outside; /* ... those of them that the model has nothing to do with */
};

/* --- findings --- */

static void finding(const char *verdict, const char *what, const char *text)
{
    (void)printf("%-6s %-15s %s\n", verdict, what, text);
}

static void good(const char *what, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void good(const char *what, const char *fmt, ...)
{
    char text[700];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    finding("ok", what, text);
}

static void wrong(struct run *r, const char *what, const char *text, const char *remedy)
{
    r->n_wrong++;
    finding("wrong", what, text);
    if (remedy)
        finding("", "", remedy);
}

/* --- settings and credentials --- */

static void wrong_setting(void *ctx, const char *problem)
{
    wrong(ctx, "settings", problem, NULL);
}

/* Also what the environment says about authorities and the proxy: without them nobody can be asked. */
static void check_settings(struct run *r)
{
    struct err err = { 0 };
    int n = config_load_all(environ, &r->arena, &r->cfg, wrong_setting, r),
        n_egress = egress_problems(wrong_setting, r);

    n += n_egress;
    if (!n_egress && http_client_open(&r->services.http, &err)) {
        wrong(r, "settings", err.msg, NULL);
        n++;
    }
    if (n == 0)
        good("settings", "%s", r->cfg.on_cloud_run ? "valid, for Cloud Run" : "valid, for a machine of your own");
    else
        finding("", "",
                "-> 'inpaint-worker serve --help' explains each setting, 'inpaint-worker doctor --values' shows their "
                "values");
    if (r->cfg.push_auth != PUSH_AUTH_IAM)
        return;
    finding("note", "push",
            r->cfg.on_cloud_run
                ? "PUSH_AUTH=iam leaves the check of pushes to Cloud Run: the service must not be public"
                : "PUSH_AUTH=iam, and K_SERVICE is not set: this is not Cloud Run, so each token is verified "
                  "in full");
    finding("", "", "-> PUSH_AUTH=oidc is the recommended way");
}

static void check_credentials(struct run *r)
{
    struct err err = { 0 };

    if (services_open_credentials(&r->services, &r->cfg, &err) == ERR_OK)
        good("credentials", "from %s", gauth_source(r->services.gauth));
    else
        wrong(r, "credentials", err.msg,
              "-> set FIREBASE_CREDENTIALS to the base64 of a service account's JSON key, or "
              "GOOGLE_APPLICATION_CREDENTIALS to its path; on Cloud Run set neither");
}

/* --- pictures --- */

static void check_decoders(struct run *r)
{
    const struct decode_options options = { .jail = r->cfg.decode_jail, .heic = r->cfg.heic };
    const char *why = r->cfg.decode_jail ? jail_unavailable_reason() : "DECODE_JAIL=off",
               *no_heic = decode_heic_refusal(&options);
    char text[400];

    if (why) {
        (void)snprintf(text, sizeof text, "pictures are decoded in the worker's own process (%s)", why);
        finding("note", "decoders", text);
        finding("", "",
                r->cfg.decode_jail
                    ? "-> a picture that crashes a decoder ends the worker here; run it where seccomp and "
                      "memfd_create are allowed"
                    : "-> DECODE_JAIL=auto decodes them in a process without rights, where the system "
                      "allows that");
    } else
        good("decoders", "run in a process of their own, without rights");
    if (no_heic) {
        (void)snprintf(text, sizeof text, "HEIC photos are refused (%s)", no_heic);
        finding("note", "HEIC", text);
    } else
        good("HEIC", "photos are decoded");
}

/* --- the cloud --- */

static void report(struct run *r, const char *what, const struct access_answer *answer, const char *good_text)
{
    char remedy[ACCESS_REMEDY_SIZE + 4], *reason;

    (void)snprintf(remedy, sizeof remedy, "-> %s", answer->remedy);
    if (answer->verdict == ACCESS_GRANTED)
        good(what, "%s", good_text);
    else
        wrong(r, what, printable_text(answer->reason, &r->arena, &reason, NULL) ? "no memory" : reason,
              *answer->remedy ? remedy : NULL);
}

static void check_keys(struct run *r, const struct budget *budget)
{
    struct access_answer answer = { .verdict = ACCESS_GRANTED };
    struct jwks *jwks = NULL;
    struct err err = { 0 };
    char text[600];
    enum err_code rc = jwks_open(r->services.http, &sys_real, r->cfg.oidc_certs_url, &jwks, &err);

    if (rc)
        access_keys(rc, err.msg, &answer);
    else
        cloud_check_keys(jwks, budget, &answer);
    (void)snprintf(text, sizeof text, "%d at %s", rc ? 0 : jwks_count(jwks, &(int64_t){ 0 }), r->cfg.oidc_certs_url);
    report(r, "push keys", &answer, text);
    jwks_close(jwks);
}

static void check_bucket(struct run *r, const struct access *x, const struct budget *budget)
{
    static const char done[] = "an object was written, read and removed";
    struct access_answer answer;
    char bucket[BUCKET_NAME_MAX + 1], text[400];
    bool is_set = r->services.storage.bucket;

    if (!is_set) {
        access_find_bucket(x, budget, &r->arena, bucket, &answer);
        if (answer.verdict != ACCESS_GRANTED) {
            report(r, "bucket", &answer, "");
            return;
        }
        r->services.storage.bucket = bucket;
    }
    access_bucket(x, ACCESS_TRY, budget, &r->arena, &answer);
    (void)snprintf(text, sizeof text, "%s%s: %s", r->services.storage.bucket,
                   is_set ? "" : ", found by the project (FIREBASE_STORAGE_BUCKET is not set)", done);
    report(r, "bucket", &answer, text);
    r->services.storage.bucket = is_set ? r->services.storage.bucket : NULL;
}

static void check_topic(struct run *r, const struct access *x, const struct budget *budget)
{
    struct access_answer answer;
    struct err err = { 0 };

    if (!r->cfg.poison_topic)
        return;
    if (services_open_publisher(&r->services, &r->cfg, &r->arena, &err))
        access_judge_failure(err.code, err.msg, &answer);
    else
        access_topic(x, &r->services.publisher, budget, &r->arena, &answer);
    report(r, "poison topic", &answer, r->cfg.poison_topic);
}

static void check_services(struct run *r, const char *project, const struct budget *budget)
{
    const struct access x = { r->services.http,     r->services.gauth, &r->services.firestore,
                              &r->services.storage, project,           r->cfg.firestore_database };
    struct access_answer answer;
    char text[400];

    access_token(&x, budget, &r->arena, &answer);
    report(r, "access token", &answer, "received");
    if (answer.verdict != ACCESS_GRANTED)
        return;
    access_database(&x, budget, &r->arena, &answer);
    (void)snprintf(text, sizeof text, "%s, can be read and written", r->services.firestore.documents);
    report(r, "database", &answer, text);
    check_bucket(r, &x, budget);
    check_topic(r, &x, budget);
}

static void check_cloud(struct run *r)
{
    struct budget budget = { .sys = &sys_real, .deadline_mono_ms = sys_mono_ms(&sys_real) + ONLINE_MS };
    const char *project;
    struct access_answer answer;
    struct err err = { 0 };

    if (r->cfg.push_auth != PUSH_AUTH_NONE)
        check_keys(r, &budget);
    if (!r->services.gauth)
        return;
    if (gauth_project(r->services.gauth, &budget, &project, &err) ||
        services_open(&r->services, &r->cfg, project, &r->arena, &err)) {
        access_project(r->services.gauth, err.code, err.msg, &answer);
        report(r, "project", &answer, "");
        return;
    }
    good("project", "%s", project);
    check_services(r, project, &budget);
}

/* --- the model --- */

static void show_fetching(void *ctx, const struct weights_progress *p)
{
    struct run *r = ctx;

    progress_show(&r->fetching, "weights", NULL, p->done_bytes, p->total_bytes);
}

static enum err_code look_at_weights(struct run *r, struct err *err)
{
    const char *loras[FILL_MAX_LORAS];

    for (int i = 0; i < r->loras.n; i++)
        loras[i] = r->loras.items[i].path;
    TRY(services_open_weights(&r->services, &r->cfg, show_fetching, r, &r->weights, err));
    return weights_look(r->weights, loras, r->loras.n, err);
}

/* Where the model is in Cloud Storage, fetches as much as it takes to say which files a start would fetch. false: it
 * cannot be examined. */
static bool open_weights(struct run *r, const struct args *a)
{
    struct err err = { 0 };

    if (!r->cfg.weights_are_remote)
        return true;
    if (a->offline || !r->services.gauth) {
        finding("note", "weights",
                a->offline ? "not looked at (--offline)" : "not looked at, because of the settings above");
        return false;
    }
    if (!look_at_weights(r, &err))
        return true;
    wrong(r, "weights", err.msg,
          "-> WEIGHTS is gs://BUCKET/PREFIX, below which the model files lie; the worker's service account needs "
          "roles/storage.objectViewer on that bucket");
    return false;
}

static double gib(double bytes)
{
    return bytes / ((int64_t)1 << 30);
}

/* What a part is found in; "" where it is not. */
struct parts {
    const char *path[MODEL_PART_COUNT];
};

/* Returns how many parts are missing or broken. */
static int check_parts(struct run *r, const struct model_folder *folder, struct parts *ret)
{
    struct model_found found;
    bool has_prompts = model_folder_find(folder, MODEL_PROMPTS, &r->arena, &found, NULL) == ERR_OK;
    int before = r->n_wrong;

    if (!file_folder_is_readable(folder->dir)) {
        wrong(r, "model folder", folder->dir,
              "-> the folder is missing or cannot be read: set MODEL_DIR to the folder with the model files");
        return 1;
    }
    for (int part = 0; part < MODEL_PART_COUNT; part++) {
        struct err err = { 0 };
        enum err_code rc = model_folder_find(folder, (enum model_part)part, &r->arena, &found, &err);

        ret->path[part] = rc == ERR_OK ? found.path : "";
        if (rc == ERR_OK)
            good(model_part_name((enum model_part)part), "%s", found.path);
        else if (model_part_is_needed((enum model_part)part, has_prompts))
            wrong(r, model_part_name((enum model_part)part), err.msg,
                  rc == ERR_NOT_FOUND ? "-> put it into MODEL_DIR; what lies there is listed below"
                                      : "-> the file is damaged, unfinished or of another kind: download it again");
    }
    return r->n_wrong - before;
}

/* Whether LORAS names it. */
static bool is_lora_in_use(struct run *r, const struct model_file *f)
{
    const char *path = NULL;
    bool any = false;

    for (int i = 0; i < r->loras.n; i++)
        any |= !lora_set_find(r->cfg.models, r->loras.items[i].path, &r->arena, &path, NULL) &&
               file_is_same(f->path, path);
    return any;
}

/* Which parts a file is, as "used as T5 and T5 tokenizer"; false: none. */
static bool say_use(struct run *r, const struct parts *parts, const struct model_file *f, char text[200])
{
    size_t at = 0;

    if (is_lora_in_use(r, f)) {
        (void)snprintf(text, 200, "used as LORAS says");
        return true;
    }

    for (int part = 0; part < MODEL_PART_COUNT; part++)
        if (parts->path[part] && strcmp(parts->path[part], f->path) == 0 && at < 150)
            at += (size_t)snprintf(text + at, 200 - at, "%s%s", at ? " and " : "used as ",
                                   model_part_name((enum model_part)part));
    return at;
}

static void say_size(int64_t bytes, char text[40])
{
    if (bytes == INT64_MAX)
        (void)snprintf(text, 40, "of unknown size");
    else if (bytes < 100 * 1000 * 1000)
        (void)snprintf(text, 40, "%.1f MB", (double)bytes / 1e6);
    else
        (void)snprintf(text, 40, "%.2f GB", (double)bytes / 1e9);
}

static void print_file(struct run *r, const struct model_file *f, const struct parts *parts)
{
    char why[MODEL_FILE_TEXT_SIZE], reason[FILE_TEXT_SIZE], use[200], size[40], line[MODEL_FILE_TEXT_SIZE + 600],
        *printable = line;
    bool used = say_use(r, parts, f, use);

    if (!used)
        (void)snprintf(use, sizeof use, "%s",
                       *file_seen_reason(&f->seen, reason) ? "" : "not used: another file or name comes first");
    say_size(f->bytes, size);
    (void)snprintf(line, sizeof line, "%.300s (%s) %s%s%s", f->name, size, model_file_text(f, !used, why),
                   *use ? ", " : "", use);
    finding("file", "", printable_text(line, &r->arena, &printable, NULL) ? "no memory" : printable);
}

/* Every file that may be a part of a model: what it is, and what it is used as or why not. */
static void list_files(struct run *r, const struct model_folder *folder, const struct parts *parts)
{
    struct model_list list = { 0 };
    struct err err = { 0 };

    if (!parts->path[0]) /* the folder itself is missing, as was said */
        return;
    if (model_folder_list(folder, &r->arena, &list, &err))
        finding("note", "model folder", err.msg);
    for (int i = 0; i < list.n; i++)
        print_file(r, &list.files[i], parts);
}

static void print_card(struct backend *be)
{
    struct backend_card card;
    char power[48] = "";

    if (!backend_card(be, &card))
        return;
    if (card.power_limit_w > 0)
        (void)snprintf(power, sizeof power, ", at most %.0f W", card.power_limit_w);
    good("card", "%s, driver %s, %s%s", card.name, card.driver[0] ? card.driver : "unknown", card.libraries, power);
}

static enum err_code open_backend(struct run *r, struct err *err)
{
    return backend_open((enum backend_kind)r->cfg.backend, (enum precision)r->cfg.precision, &r->be, err);
}

static void check_backend(struct run *r)
{
    struct err err = { 0 };
    char text[400];

    if (open_backend(r, &err)) {
        wrong(r, "backend", err.msg,
              "-> BACKEND=auto takes CUDA if there is a device, else the CPU; CUDA needs a driver and a device");
        return;
    }
    good("backend", "%s, %s%s%s", r->be->name, backend_precision(r->be), *backend_describe(r->be) ? ", " : "",
         backend_describe(r->be));
    print_card(r->be);
    if (*r->be->without_cuda) {
        (void)snprintf(
            text, sizeof text,
            "there is no CUDA (%.200s), so the CPU computes; `serve` is not ready where a job takes longer than "
            "JOB_DEADLINE_SECONDS (%d) there",
            r->be->without_cuda, r->cfg.job_deadline_s);
        finding("note", "backend", text);
        finding("", "",
                "-> give the machine a GPU and set BACKEND=cuda, or set BACKEND=cpu if it is meant to have none");
    }
}

/* Where the model alone can be opened, it is the LoRAs that are wrong, and the rest is examined without them. */
static enum err_code estimate(struct run *r, const char *dir, struct fill_options *o, struct fill_memory *ret,
                              struct err *err)
{
    struct fill_options alone = *o;
    struct err ignored = { 0 };
    const enum err_code rc = fill_memory_estimate(dir, o, r->be, ret, err);

    alone.n_loras = 0;
    if (!rc || rc == ERR_NOMEM || !o->n_loras || fill_memory_estimate(dir, &alone, r->be, ret, &ignored))
        return rc;
    wrong(r, "LORAS", err->msg, NULL);
    r->loras.n = 0;
    return ERR_OK;
}

/* Opens the whole model on the measuring backend: every tensor is looked for, every shape checked. */
static void check_model(struct run *r, const struct model_folder *folder)
{
    struct fill_options o = { .transformer = folder->transformer,
                              .loras = r->loras.items,
                              .n_loras = r->loras.n,
                              .max_width = PICTURE_SIDE,
                              .max_height = PICTURE_SIDE,
                              .max_steps = r->cfg.steps,
                              .max_t5_len = T5_MAX_TOKENS };
    struct fill_memory m = { 0 };
    struct err err = { 0 };
    enum err_code rc = estimate(r, folder->dir, &o, &m, &err);

    if (rc == ERR_NOMEM)
        wrong(r, "memory", err.msg,
              "-> take a smaller quantisation, or a prompt pack instead of T5 (README, Model folder)");
    else if (rc && r->weights) {
        finding("note", "model", err.msg);
        finding("", "",
                "-> this is judged by the directories of the files, without the scales beside fp8 matrices; "
                "'doctor --self-check' fetches all of it and is sure");
    } else if (rc)
        wrong(r, "model", err.msg, "-> the parts do not belong to one FLUX.1-Fill: download the part that is named");
    if (rc)
        return;
    good("model", "%.2f GiB of weights, %.2f GiB for a picture of %d x %d pixels", gib((double)m.weights),
         gib((double)m.request), PICTURE_SIDE, PICTURE_SIDE);
    if (m.not_taken)
        good("tensors", "%d of the model files are not used: they belong to other networks", m.not_taken);
    if (r->loras.n)
        good("LoRAs", "%d, merged into the transformer while it loads: all of their layers fit", r->loras.n);
    if (m.available >= 0)
        good("memory", "%.2f GiB are free on %s", gib((double)m.available), r->be->name);
    if (m.available >= 0 && m.available < m.weights + m.request)
        finding("note", "memory", "this is less than a job takes: the model files will be read again in every step");
}

/* All of the chosen files, where they are in Cloud Storage. */
static enum err_code fetch_for_check(struct run *r, struct fill_options *o, struct err *err)
{
    enum err_code rc;

    if (!r->weights)
        return ERR_OK;
    progress_init_stderr(&r->fetching);
    rc = weights_begin_chosen(r->weights, o, r->be, &r->arena, err);
    rc = rc ? rc : weights_end(r->weights, WEIGHTS_WAIT, err);
    progress_done(&r->fetching);
    return rc;
}

static enum err_code open_for_check(struct run *r, struct fill_model **ret, struct err *err)
{
    struct fill_options o = { .transformer = r->cfg.transformer,
                              .loras = r->loras.items,
                              .n_loras = r->loras.n,
                              .max_width = CHECK_SIDE,
                              .max_height = CHECK_SIDE,
                              .max_steps = 1,
                              .max_t5_len = CHECK_T5_LEN };

    TRY(open_backend(r, err));
    r->be->warn = cli_warn;
    TRY(fetch_for_check(r, &o, err));
    return fill_model_open(r->cfg.models, &o, r->be, ret, err);
}

static void show_progress(void *ctx, const char *path, int64_t done, int64_t total)
{
    char what[32];

    (void)snprintf(what, sizeof what, "%s", file_short_name(path));
    if (total >= SLOW_FILE_BYTES)
        progress_show(ctx, what, NULL, done, total);
}

/* By its digest where that is known; else what is in it must be what a trained model can have. */
static void check_file(struct run *r, const struct verified_file *file, const struct file_digest_watch *watch)
{
    char sha256[FILE_DIGEST_SIZE], text[VERDICT_TEXT_SIZE];
    enum verdict verdict;
    struct err err = { 0 };
    int64_t bytes = 0;

    if (file_digest(file->path, watch, sha256, &bytes, &err)) {
        wrong(r, "model file", err.msg, "-> the file cannot be read");
        return;
    }
    verdict = model_file_judge(file->path, bytes, sha256, text);
    if (verdict == VERDICT_WRONG)
        wrong(r, "model file", text, NULL);
    else if (verdict == VERDICT_UNKNOWN && file->has_tensors && model_file_prove(file->path, &r->arena, &err))
        wrong(r, "model file", err.msg, NULL);
    else
        finding(verdict == VERDICT_KNOWN ? "ok" : "note", "model file", text);
    if (verdict == VERDICT_UNKNOWN && model_file_has_odd_size(file->path, text))
        finding("", "", text);
}

/* All files of the model, before values are computed with it. */
static void check_files(struct run *r, const struct fill_model *m)
{
    const struct model_folder folder = { .dir = r->cfg.models, .transformer = fill_model_transformer(m) };
    struct progress progress;
    const struct file_digest_watch watch = { .progress = show_progress, .ctx = &progress };
    struct model_files files = { 0 };

    progress_init_stderr(&progress);
    model_files_add_folder(&files, &folder, &r->arena);
    for (int i = 0; fill_model_lora_path(m, i); i++)
        model_files_add(&files, &(struct verified_file){ fill_model_lora_path(m, i), MODEL_PART_COUNT, false },
                        &r->arena);
    for (int i = 0; i < files.n; i++)
        check_file(r, &files.file[i], &watch);
    progress_done(&progress);
}

static void store_values(const struct run *r, struct fill_model *m, const struct self_check *check)
{
    struct err err = { 0 };

    if (check->stored)
        good("self-check", "as stored; the largest relative error is %.1g, in %s", check->worst, check->what);
    else if (r->weights)
        finding(
            "note", "self-check",
            "passed, but its values are not stored: they belong beside the transformer, and that is in Cloud "
            "Storage; 'doctor --self-check' on the same files in a folder stores them, to be uploaded with the rest");
    else if (self_check_record(m, &err) == ERR_OK)
        good("self-check", "values stored beside %s: later runs must reproduce them", fill_model_transformer(m));
    else
        finding("note", "self-check", err.msg);
}

static bool is_model_right(const struct run *r)
{
    return r->n_wrong == r->n_outside;
}

/* Computes with the model and compares the values with those stored next to it; if there are none, stores them: but
 * not where a file is wrong, because that would make the damage the truth. */
static void check_values(struct run *r)
{
    static const char again[] =
        "-> download the model files again; if they are right, delete the .check file that is named";
    struct self_check check = { 0 };
    struct fill_model *m = NULL;
    struct err err = { 0 };

    if (open_for_check(r, &m, &err))
        wrong(r, "self-check", err.msg, again);
    else
        check_files(r, m);
    if (is_model_right(r) && self_check_run(m, &check, &err))
        wrong(r, "self-check", err.msg, again);
    if (is_model_right(r))
        store_values(r, m, &check);
    fill_model_close(m);
}

/* --- the command --- */

static void close_backend(struct run *r)
{
    backend_close(r->be);
    r->be = NULL;
}

static void read_loras(struct run *r)
{
    struct err err = { 0 };

    if (r->cfg.loras && fill_loras_add(&r->loras, r->cfg.loras, &err))
        wrong(r, "LORAS", err.msg, NULL);
}

static void examine_model(struct run *r, const struct args *a)
{
    const struct model_folder folder = { .dir = r->cfg.models, .transformer = r->cfg.transformer };
    struct parts parts = { 0 };
    int n_missing = check_parts(r, &folder, &parts);

    list_files(r, &folder, &parts);
    if (n_missing == 0)
        check_model(r, &folder);
    close_backend(r); /* the self-check opens one with all memory free */
    if (a->self_check && is_model_right(r))
        check_values(r);
    else if (a->self_check)
        finding("note", "self-check", "not done, because of what is wrong with the model");
}

static int examine(struct run *r, const struct args *a)
{
    check_settings(r);
    check_credentials(r);
    check_decoders(r);
    if (a->offline || !r->services.http)
        finding("note", "cloud", a->offline ? "not asked (--offline)" : "not asked, because of the settings above");
    else
        check_cloud(r);
    r->n_outside = r->n_wrong;
    read_loras(r);
    check_backend(r);
    if (open_weights(r, a))
        examine_model(r, a);
    config_forget_secrets(&r->cfg);
    if (r->n_wrong)
        (void)printf("\nwrong: %d\n", r->n_wrong);
    else
        (void)printf("\nEverything is there.\n");
    return r->n_wrong ? CLI_FAILED : CLI_DONE;
}

static void ignore_problem(void *ctx, const char *problem)
{
    (void)ctx, (void)problem;
}

static int print_values(struct run *r)
{
    (void)config_load_all(environ, &r->arena, &r->cfg, ignore_problem, NULL);
    config_print_values(&r->cfg, stdout);
    return CLI_DONE;
}

static void close_run(struct run *r)
{
    backend_close(r->be);
    weights_free(r->weights);
    gauth_close(r->services.gauth);
    http_client_close(r->services.http);
    arena_done(&r->arena);
}

int cmd_doctor(int argc, char **argv)
{
    struct args a = { 0 };
    const struct cli_option options[] = {
        { "--offline", CLI_FLAG, &a.offline, NULL,
          .help = "ask no service: neither for a token nor for the database, the bucket and the keys of push tokens" },
        { "--online", CLI_FLAG, &a.online, NULL, .help = "ask them; this is the default" },
        { "--values", CLI_FLAG, &a.values, NULL,
          .help = "print the values of all settings, without secrets, and check nothing" },
        { "--self-check", CLI_FLAG, &a.self_check, NULL,
          .help = "also compute with the model, and compare with the values stored beside the transformer, or store "
                  "them if there are none yet" },
    };
    const struct cli_command command = { "doctor",
                                         "checks settings, credentials, the cloud, model files, memory and backend",
                                         options, .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);
    struct run r = { 0 };
    struct err err = { 0 };

    if (status != CLI_RUN)
        return status;
    if (a.online && a.offline)
        return cli_misused(&command, "--online and --offline exclude each other");
    if (arena_init(&r.arena, ARENA_BYTES, &err))
        status = cli_fail(&command, &err);
    else
        status = a.values ? print_values(&r) : examine(&r, &a);
    close_run(&r);
    return status;
}
