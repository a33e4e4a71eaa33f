#include "worker/base/config.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/base/span.h"
#include "worker/base/names.h"

#define GOOGLE_CERTS_URL "https://www.googleapis.com/oauth2/v3/certs"

/* How a value is read, and the type of its field in struct config. */
enum kind {
    TEXT,     /* const char * */
    PROJECT,  /* const char *, the id of a project */
    BUCKET,   /* const char *, the name of a bucket */
    DATABASE, /* const char *, the name of a Firestore database */
    TOPIC,    /* const char *, a topic as projects/PROJECT/topics/NAME */
    KEY_PATH, /* const char *; another value may be the key itself, and is never printed */
    SECRET,   /* char *, never printed */
    INT,      /* int */
    NUMBER,   /* double */
    SWITCH,   /* bool: the index of the word in `choices`, which are two */
    CHOICE,   /* int: the index of the word in `choices`, or the entry of `values` at that index */
    LIST,     /* struct config_list */
    EMAILS,   /* struct config_list */
    HOST,     /* const char *, host[:port] without a scheme */
    URL       /* const char *, "http://host:port" of an emulator; the scheme may be left out */
};

struct setting {
    const char *name;
    enum kind kind;
    size_t offset;        /* in struct config */
    const char *standard; /* the default, spelled as in the environment; NULL: none */
    const char *meaning;
    double min, max;            /* INT and NUMBER */
    const char *const *choices; /* CHOICE and SWITCH: the words, NULL at the end */
    const int *values;          /* CHOICE: what each word stands for; NULL: its index */
    const char *none;           /* the word that means "not set"; NULL: none */
    const char *allowed;        /* the allowed values in words; NULL: described by kind, min, max and choices */
    bool required;
};

static const char *const push_auth_names[] = { "oidc", "iam", "none", NULL }; /* in the order of enum push_auth */
static const char *const precision_names[] = { "auto", "f32", "bf16", NULL }; /* PRECISION_DEFAULT is for commands */
static const int precisions[] = { PRECISION_AUTO, PRECISION_F32, PRECISION_BF16 };
static const char *const poison_names[] = { "ack", "nack", NULL };                    /* of enum poison_policy */
static const char *const download_token_names[] = { "keep", "create", "none", NULL }; /* of enum download_tokens */
static const char *const geometry_names[] = { "crop", "full", NULL };           /* of enum picture_geometry_mode */
static const char *const output_jpeg_names[] = { "q95", "splice", NULL };       /* of enum picture_output */
static const char *const second_pass_names[] = { "off", "seam", "both", NULL }; /* of enum picture_second_pass */
static const char *const verify_names[] = { "size", "digest", NULL };           /* of enum verify_mode */
static const char *const off_auto_names[] = { "off", "auto", NULL };
static const char *const off_grow_names[] = { "off", "grow", NULL };
static const char *const huffman_names[] = { "optimal", "fast", NULL };
static const char *const log_level_names[] = { "debug", "info", "notice", "warning", "error", "critical", NULL };

#define AT(member) offsetof(struct config, member)

static const struct setting settings[] = {
    { "PORT", INT, AT(port), "8080", .meaning = "port to listen on", .min = 1, .max = 65535 },
    { "FIREBASE_CREDENTIALS", SECRET, AT(firebase_credentials), NULL,
      .allowed = "JSON of at most 16 KiB, plain or in base64",
      .meaning =
          "key of a service account; if not set, `GOOGLE_APPLICATION_CREDENTIALS` is used, else the metadata server" },
    { "GOOGLE_APPLICATION_CREDENTIALS", KEY_PATH, AT(credentials_file), NULL,
      .meaning = "file with the JSON key of a service account" },
    { "FIREBASE_STORAGE_BUCKET", BUCKET, AT(bucket), NULL,
      .meaning = "bucket that holds the pictures; if not set, PROJECT.firebasestorage.app, else PROJECT.appspot.com, "
                 "whichever exists at the start" },
    { "GOOGLE_CLOUD_PROJECT", PROJECT, AT(project), NULL,
      .meaning = "project that holds the documents; if not set, the project of the credentials, else that of the "
                 "metadata server" },
    { "FIRESTORE_DATABASE", DATABASE, AT(firestore_database), "(default)",
      .meaning = "database that holds the documents" },
    { "PUSH_AUTH", CHOICE, AT(push_auth), NULL, .choices = push_auth_names, .required = true,
      .meaning = "who verifies the token of a push: the worker (`oidc`, recommended), Cloud Run (`iam`: the service "
                 "must not be "
                 "public) or nobody (`none`: only with emulators; the worker then listens on loopback only)" },
    { "PUSH_AUDIENCE", LIST, AT(push_audiences), NULL,
      .meaning = "audiences that a push token may have; required with `oidc` and `iam`" },
    { "PUSH_SERVICE_ACCOUNT", EMAILS, AT(push_accounts), NULL,
      .meaning = "service accounts that may send pushes; required with `oidc` and `iam`" },
    { "OIDC_CERTS_URL", TEXT, AT(oidc_certs_url), GOOGLE_CERTS_URL, .allowed = "https URL, or http on loopback",
      .meaning = "where the issuer of push tokens publishes its keys; change it only for tests" },
    { "PUBSUB_SUBSCRIPTION", TEXT, AT(subscription), NULL, .allowed = "projects/PROJECT/subscriptions/NAME",
      .meaning = "if set, pushes from any other subscription cannot be jobs here: see `POISON`" },
    { "POISON", CHOICE, AT(poison), "ack", .choices = poison_names,
      .meaning =
          "what becomes of a push that cannot be a job: acknowledged with an error in the log (`ack`), or refused "
          "with 400, so that the subscription's dead-letter policy takes it (`nack`)" },
    { "POISON_TOPIC", TOPIC, AT(poison_topic), NULL,
      .meaning = "topic to which such a push is published, with the reason, before it is acknowledged" },
    { "MODEL_DIR", TEXT, AT(model_dir), "/models", .allowed = "path", .meaning = "folder with the model files" },
    { "WEIGHTS", TEXT, AT(weights), NULL, .allowed = "absolute path, or gs://BUCKET/PREFIX",
      .meaning =
          "the same, and wins over `MODEL_DIR`: a folder, or a prefix in Cloud Storage below which the files lie; "
          "`serve` then fetches those that it needs into memory at the start" },
    { "TRANSFORMER", TEXT, AT(transformer), "auto", .none = "auto", .allowed = "file name or path",
      .meaning =
          "a file of `MODEL_DIR` or of a sub-folder (`unet/x.gguf`, with or without its ending), a folder with an "
          "index, or a path; auto: the largest that fits into memory" },
    { "LORAS", TEXT, AT(loras), NULL, .allowed = "FILE[:SCALE],...",
      .meaning = "LoRAs merged into the transformer while it loads: files of `MODEL_DIR` or its folder `loras`, or "
                 "paths, each with a scale from -10 to 10 (1 unless given)" },
    { "VERIFY", CHOICE, AT(verify), "size", .choices = verify_names,
      .meaning = "how model files are compared with those that are known (`models/known_files`): by size (`size`: a "
                 "note in the log), or by digest as well, while the model loads (`digest`: the start fails where a "
                 "known file is damaged)" },
    { "BACKEND", CHOICE, AT(backend), "auto", .choices = backend_kind_names,
      .meaning = "where to compute; auto: CUDA if there is a device, else the CPU; the image sets cuda" },
    { "PRECISION", CHOICE, AT(precision), "auto", .choices = precision_names, .values = precisions,
      .meaning =
          "type of the inputs of matrix products; auto: bf16 on CUDA, and on a CPU that proves clearly faster with it "
          "at start-up, else f32; CUDA has no f32: with f32, `BACKEND=cuda` is refused and `BACKEND=auto` uses the "
          "CPU" },
    { "STEPS", INT, AT(steps), "28", .meaning = "denoising steps", .min = 1, .max = CONFIG_STEPS_MAX },
    { "GUIDANCE", NUMBER, AT(guidance), "30", .meaning = "guidance scale", .min = 0, .max = 1000 },
    { "MAX_PIXELS", INT, AT(max_pixels), "120000000", .min = 1000000, .max = CONFIG_PIXELS_MAX,
      .meaning = "pixels that a photo or a mask may have" },
    { "GEOMETRY", CHOICE, AT(geometry), "crop", .choices = geometry_names,
      .meaning = "what the model paints: the surroundings of what is marked, at the photo's own scale where it can "
                 "(`crop`), or the whole photo (`full`)" },
    { "PATCH_MATCH", SWITCH, AT(patch_match), "auto", .choices = off_auto_names,
      .meaning = "whether grain and colour of what was painted are matched to its surroundings" },
    { "MASK_GROW", INT, AT(mask_grow_px), "auto", .min = 8, .max = 255, .none = "auto", .allowed = "auto, or 8 to 255",
      .meaning = "pixels of the photo by which the mask grows for the model; auto: 8, or 0.4 % of the longer side" },
    { "MASK_FEATHER", INT, AT(mask_feather_px), "auto", .min = 1, .max = 64, .none = "auto",
      .allowed = "auto, or 1 to 64",
      .meaning = "pixels of the photo over which the painted part fades out; auto: 2 pixels of what was painted" },
    { "MASK_MAX_SHARE", NUMBER, AT(mask_max_share), "0.6", .min = 0.01, .max = 1,
      .meaning = "share of the photo that may be marked; a mask that marks more is refused" },
    { "SHADOW", SWITCH, AT(shadow), "off", .choices = off_grow_names,
      .meaning = "whether the mask grows into a soft shadow below what is marked" },
    { "OUTPUT_JPEG", CHOICE, AT(output_jpeg), "q95", .choices = output_jpeg_names,
      .meaning =
          "how `edited.jpg` is written: anew with quality 95, or with the photo's own blocks wherever nothing was "
          "painted (`splice`), where its format allows that" },
    { "OUTPUT_HUFFMAN", SWITCH, AT(fast_huffman), "optimal", .choices = huffman_names,
      .meaning = "how `edited.jpg` is packed: as small as it gets, or in a third of the time and some 5 % larger "
                 "(`fast`); the pixels are the same" },
    { "SECOND_PASS", CHOICE, AT(second_pass), "off", .choices = second_pass_names,
      .meaning = "whether a result is painted again with another seed, if there is time, and the better one kept: "
                 "never, where the seam shows, or always" },
    { "DECODE_JAIL", SWITCH, AT(decode_jail), "auto", .choices = off_auto_names,
      .meaning = "whether files from outside are decoded in a process of their own without rights, where the system "
                 "allows that" },
    { "HEIC", SWITCH, AT(heic), "auto", .choices = off_auto_names,
      .meaning = "whether HEIC photos are decoded, in a build with libheif" },
    { "MAX_ATTEMPTS", INT, AT(max_attempts), "5", .meaning = "attempts before a job fails for good", .min = 1,
      .max = 100 },
    { "MAX_DELIVERIES", INT, AT(max_deliveries), "50", .min = 1, .max = 1000,
      .meaning = "deliveries of a message after which its session fails, whatever the cause; counted by Pub/Sub, for "
                 "subscriptions with a dead-letter policy alone" },
    { "MAX_MESSAGE_AGE_SECONDS", INT, AT(max_message_age_s), "604800", .min = 600, .max = 2678400,
      .meaning = "age of a message beyond which its session fails, whatever the cause" },
    { "QUEUE_DEPTH", INT, AT(queue_depth), "8", .meaning = "pushes that may wait while a job runs", .min = 0,
      .max = 1000 },
    { "JOB_DEADLINE_SECONDS", INT, AT(job_deadline_s), "280",
      .meaning = "longest time that a job may take, counted from the arrival of its push", .min = 5, .max = 3500 },
    { "LEASE_SECONDS", INT, AT(lease_s), "360",
      .meaning = "how long a worker's claim on a session is valid; at least `JOB_DEADLINE_SECONDS` + 10", .min = 5,
      .max = 3500 },
    { "DOWNLOAD_TOKENS", CHOICE, AT(download_tokens), "keep", .choices = download_token_names,
      .meaning =
          "the Firebase download tokens of a written picture: those of the picture that it replaces (`keep`), the "
          "same or a new one where there is none (`create`), or none" },
    { "COST_PER_SECOND", NUMBER, AT(cost_per_second), "0.00039",
      .meaning = "price of one second of work in US dollars, for the `cost` of a session", .min = 0, .max = 1000 },
    { "FIRESTORE_EMULATOR_HOST", HOST, AT(firestore_emulator), NULL,
      .meaning = "emulator to use instead of Firestore" },
    { "STORAGE_EMULATOR_HOST", URL, AT(storage_emulator), NULL, .meaning = "emulator to use instead of Cloud Storage" },
    { "FIREBASE_STORAGE_EMULATOR_HOST", HOST, AT(firebase_storage_emulator), NULL,
      .meaning = "Cloud Storage emulator to use if `STORAGE_EMULATOR_HOST` is not set" },
    { "PUBSUB_EMULATOR_HOST", HOST, AT(pubsub_emulator), NULL,
      .meaning = "emulator to use instead of Pub/Sub, for `POISON_TOPIC`" },
    { "GCE_METADATA_HOST", HOST, AT(metadata_host), NULL,
      .meaning = "address to use instead of that of the metadata server" },
    { "LOG_LEVEL", CHOICE, AT(log_level), "info", .choices = log_level_names,
      .meaning = "lowest severity that is logged" },
};

enum { N_SETTINGS = sizeof settings / sizeof *settings, SETTINGS_MAX = 64 };
static_assert(N_SETTINGS <= SETTINGS_MAX, "struct load has a mark for each setting");

/* ---- what is allowed, in words ---- */

static void describe(const struct setting *s, char *buf, size_t size)
{
    static const char *const words[] = {
        [TEXT] = "text",
        [PROJECT] = "letters, digits and -._:",
        [BUCKET] = "bucket name",
        [DATABASE] = "(default), or 4 to 63 of a-z, 0-9 and -, a letter first",
        [TOPIC] = "projects/PROJECT/topics/NAME; NAME: 3 to 255 letters, digits and -._~+%, a letter first",
        [KEY_PATH] = "path",
        [SECRET] = "text",
        [LIST] = "comma-separated list",
        [EMAILS] = "comma-separated list of e-mail addresses",
        [HOST] = "host:port",
        [URL] = "http://host:port",
    };
    size_t n = 0;

    buf[0] = 0;
    if (s->allowed)
        (void)snprintf(buf, size, "%s", s->allowed);
    else if (s->kind == INT)
        (void)snprintf(buf, size, "%.0f to %.0f", s->min, s->max);
    else if (s->kind == NUMBER)
        (void)snprintf(buf, size, "%g to %g", s->min, s->max);
    else if (s->kind != CHOICE && s->kind != SWITCH)
        (void)snprintf(buf, size, "%s", words[s->kind]);
    else
        for (int i = 0; s->choices[i] && n < size; i++)
            n += (size_t)snprintf(buf + n, size - n, "%s%s", i ? ", " : "", s->choices[i]);
}

/* ---- loading ---- */

enum { PROBLEM_MAX = 800 };

struct load {
    char *const *env;
    struct arena *arena;
    struct config *cfg;
    void (*report)(void *ctx, const char *problem);
    void *ctx;
    int problems;
    bool is_bad[SETTINGS_MAX]; /* the settings that are reported: rules over them would only say it again */
};

static void problem(struct load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void problem(struct load *l, const char *fmt, ...)
{
    char text[PROBLEM_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    l->problems++;
    l->report(l->ctx, text);
}

/* As settings come out of a file that another program than a shell reads. */
static bool is_quoted(const char *value)
{
    size_t n = strlen(value);

    return n >= 2 && strchr("\"'", *value) && value[n - 1] == *value;
}

static void bad_value(struct load *l, const struct setting *s, const char *value)
{
    char allowed[120];

    l->is_bad[s - settings] = true;
    describe(s, allowed, sizeof allowed);
    if (s->kind == KEY_PATH)
        problem(
            l,
            "%s is not the path of a file, without blanks, quotes or line breaks around it; a key itself belongs in "
            "FIREBASE_CREDENTIALS",
            s->name);
    else if (s->kind == SECRET)
        problem(l, "%s is not valid; allowed: %s", s->name, allowed);
    else
        problem(l, "%s='%.60s' is not valid; allowed: %s%s", s->name, value, allowed,
                is_quoted(value) ? ", without quotes around it" : "");
}

/* The first value of that name in the environment, as getenv returns it; NULL when unset or empty. */
static const char *lookup(char *const *env, const char *name)
{
    size_t n = strlen(name);

    for (; *env; env++)
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return (*env)[n + 1] ? *env + n + 1 : NULL;
    return NULL;
}

static bool is_printable(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7F)
            return false;
    return true;
}

static bool is_project(const char *text)
{
    return project_id_is_valid(span_of(text));
}

static bool take_int(const struct setting *s, const char *value, int *dst)
{
    char *end;
    long v;

    if (!strchr("-0123456789", *value))
        return false;
    errno = 0;
    v = strtol(value, &end, 10);
    if (errno || *end || end == value || v < (long)s->min || v > (long)s->max)
        return false;
    *dst = (int)v;
    return true;
}

static bool take_number(const struct setting *s, const char *value, double *dst)
{
    char *end;
    double v;

    if (value[strspn(value, "-.0123456789eE+")] || !strchr("-.0123456789", *value))
        return false;
    v = strtod(value, &end);
    if (*end || end == value || !(v >= s->min && v <= s->max))
        return false;
    *dst = v;
    return true;
}

static bool take_choice(const struct setting *s, const char *value, int *dst)
{
    for (int i = 0; s->choices[i]; i++) {
        if (strcasecmp(value, s->choices[i]) == 0) {
            *dst = s->values ? s->values[i] : i;
            return true;
        }
    }
    return false;
}

/* An e-mail address as tokens have it: not as policies do, "serviceAccount:..." */
static bool is_email(const char *text)
{
    return strchr(text, '@') && !strpbrk(text, " :;\"'<>");
}

static bool take_switch(const struct setting *s, const char *value, bool *dst)
{
    int word;

    if (!take_choice(s, value, &word))
        return false;
    *dst = word == 1;
    return true;
}

static bool take_list(struct load *l, const struct setting *s, const char *value, struct config_list *dst)
{
    struct config_list list = { .n = 0 };
    char *copy = NULL, *rest, *item;

    if (span_dup(l->arena, span_of(value), &copy, NULL))
        return false;
    for (rest = copy; (item = strsep(&rest, ",")) != NULL; list.n++) {
        item += strspn(item, " ");
        for (size_t n = strlen(item); n > 0 && item[n - 1] == ' '; n--)
            item[n - 1] = 0;
        if (!*item || list.n == CONFIG_LIST_MAX || (s->kind == EMAILS && !is_email(item)))
            return false;
        list.items[list.n] = item;
    }
    *dst = list;
    return true;
}

/* As Google's libraries do, adds a missing scheme and drops one slash at the end. */
static bool take_url(struct load *l, const char *value, const char **dst)
{
    bool plain = strstr(value, "://") == NULL;
    size_t n = strlen(value), scheme = plain ? 0 : strcspn(value, ":") + 3;
    char *url = NULL;

    if (n > scheme && value[n - 1] == '/')
        n--;
    if (arena_printf(l->arena, &url, NULL, "%s%.*s", plain ? "http://" : "", (int)n, value))
        return false;
    if ((strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) || !host_is_valid(strstr(url, "://") + 3))
        return false;
    *dst = url;
    return true;
}

static bool take_text(const char *value, bool (*check)(const char *), const char **dst)
{
    if (!check(value))
        return false;
    *dst = value;
    return true;
}

static bool take_secret(const char *value, char **dst)
{
    if (strlen(value) > CONFIG_SECRET_MAX)
        return false;
    *dst = (char *)value; /* the process may write to its environment, and config_forget_secrets does */
    return true;
}

static bool take(struct load *l, const struct setting *s, const char *value)
{
    void *dst = (char *)l->cfg + s->offset;

    if (s->kind != SECRET && (strlen(value) > CONFIG_TEXT_MAX || !is_printable(value) || is_quoted(value)))
        return false;
    if (s->none && strcmp(value, s->none) == 0)
        return true;
    switch (s->kind) {
    case INT:
        return take_int(s, value, dst);
    case NUMBER:
        return take_number(s, value, dst);
    case CHOICE:
        return take_choice(s, value, dst);
    case SWITCH:
        return take_switch(s, value, dst);
    case LIST:
    case EMAILS:
        return take_list(l, s, value, dst);
    case URL:
        return take_url(l, value, dst);
    case HOST:
        return take_text(value, host_is_valid, dst);
    case PROJECT:
        return take_text(value, is_project, dst);
    case DATABASE:
        return take_text(value, database_name_is_valid, dst);
    case TOPIC:
        return take_text(value, topic_name_is_valid, dst);
    case BUCKET:
        return take_text(value, bucket_name_is_valid, dst);
    case TEXT:
        return take_text(value, is_printable, dst);
    case KEY_PATH:
        return take_text(value, path_is_plausible, dst);
    case SECRET:
        return take_secret(value, dst);
    }
    return false;
}

static void take_settings(struct load *l)
{
    for (int i = 0; i < N_SETTINGS; i++) {
        const struct setting *s = &settings[i];
        const char *value = lookup(l->env, s->name);

        if (s->standard && !take(l, s, s->standard))
            problem(l, "the default of %s is not allowed: this is a bug in the program", s->name);
        if (value && !take(l, s, value))
            bad_value(l, s, value);
    }
}

/* ---- rules over more than one setting ---- */

static const struct setting *find(const char *name)
{
    for (int i = 0; i < N_SETTINGS; i++)
        if (strcmp(settings[i].name, name) == 0)
            return &settings[i];
    return NULL;
}

static void check_unknown_names(struct load *l)
{
    static const char prefix[] = "INPAINT_";

    for (char *const *e = l->env; *e; e++) {
        char name[64];
        const struct setting *meant;

        if (strncmp(*e, prefix, sizeof prefix - 1) != 0)
            continue;
        (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(*e, "="), *e);
        meant = find(name + sizeof prefix - 1);
        if (!find(name))
            problem(l, "%s is not a setting%s%s%s", name, meant ? ": did you mean " : "", meant ? meant->name : "",
                    meant ? "?" : "; 'serve --help' lists them");
    }
}

static bool is_bad(const struct load *l, const char *name)
{
    return l->is_bad[find(name) - settings];
}

/* Who may push has no safe default. */
struct push_line {
    const char *name, *value;
    bool is_missing;
};

/* What is missing is asked for at once, with lines that can be copied. */
static void ask_for_lines(struct load *l, const struct push_line *wanted, int n_wanted)
{
    char names[120] = "", lines[400] = "";
    size_t n_names = 0, n_lines = 0;
    int n = 0;

    for (int i = 0; i < n_wanted; i++) {
        if (!wanted[i].is_missing)
            continue;
        n_names += (size_t)snprintf(names + n_names, sizeof names - n_names, "%s%s", n++ ? ", " : "", wanted[i].name);
        n_lines +=
            (size_t)snprintf(lines + n_lines, sizeof lines - n_lines, "\n%s=%.120s", wanted[i].name, wanted[i].value);
    }
    if (n)
        problem(l, "%s %s not set, and who may push has no safe default. Set %s, with your own values:%s", names,
                n == 1 ? "is" : "are", n == 1 ? "this line" : "these lines", lines);
}

static void check_push_auth(struct load *l)
{
    const struct config *c = l->cfg;
    bool emulated = c->firestore_emulator || c->storage_emulator, has_auth = lookup(l->env, "PUSH_AUTH");
    bool none = !has_auth || c->push_auth == PUSH_AUTH_NONE || is_bad(l, "PUSH_AUTH");
    bool needs = !(none && emulated); /* with emulators and without PUSH_AUTH, `none` is what is meant */
    char account[PROJECT_ID_MAX + 80];
    const struct push_line wanted[] = {
        { "PUSH_AUTH", needs ? "oidc" : "none", !has_auth },
        { "PUSH_AUDIENCE", "https://AUDIENCE-OF-THE-SUBSCRIPTION",
          needs && c->push_audiences.n == 0 && !is_bad(l, "PUSH_AUDIENCE") },
        { "PUSH_SERVICE_ACCOUNT", account, needs && c->push_accounts.n == 0 && !is_bad(l, "PUSH_SERVICE_ACCOUNT") },
    };

    if (has_auth && c->push_auth == PUSH_AUTH_NONE && !emulated) {
        problem(l, "PUSH_AUTH=none needs FIRESTORE_EMULATOR_HOST or STORAGE_EMULATOR_HOST: pushes without tokens are "
                   "for development only; else set PUSH_AUTH=oidc, PUSH_AUDIENCE and PUSH_SERVICE_ACCOUNT");
        return;
    }
    (void)snprintf(account, sizeof account, "ACCOUNT-OF-THE-SUBSCRIPTION@%.60s.iam.gserviceaccount.com",
                   c->project ? c->project : "PROJECT");
    ask_for_lines(l, wanted, sizeof wanted / sizeof *wanted);
}

static void check_precision(struct load *l)
{
    if (l->cfg->backend == BACKEND_CUDA && l->cfg->precision == PRECISION_F32)
        problem(l,
                "PRECISION=f32 is not possible with BACKEND=cuda, which computes in bf16: set PRECISION=auto or bf16, "
                "or BACKEND=cpu");
}

static void check_emulators(struct load *l)
{
    static const char *const names[] = { "FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST",
                                         "FIREBASE_STORAGE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (l->cfg->on_cloud_run && lookup(l->env, names[i]) && !is_bad(l, names[i]))
            problem(l, "%s is set on Cloud Run (K_SERVICE): an emulator is for development only", names[i]);
}

/* A folder that is relative to wherever the service happens to be started would be found by chance. */
static void check_weights(struct load *l)
{
    struct config *c = l->cfg;
    struct span bucket, prefix;
    char *models = NULL;

    c->models = c->model_dir;
    if (!c->weights)
        return;
    c->weights_are_remote = gs_url_split(c->weights, &bucket, &prefix);
    if (!c->weights_are_remote && (c->weights[0] != '/' || strstr(c->weights, "://"))) {
        bad_value(l, find("WEIGHTS"), c->weights);
        return;
    }
    c->models = c->weights;
    if (c->weights_are_remote && arena_printf(l->arena, &models, NULL, "gs://%.*s%s%.*s", (int)bucket.len, bucket.ptr,
                                              prefix.len ? "/" : "", (int)prefix.len, prefix.ptr) == ERR_OK)
        c->models = models;
}

static void check_rules(struct load *l)
{
    struct config *c = l->cfg;

    c->on_cloud_run = lookup(l->env, "K_SERVICE") != NULL;
    if (!c->storage_emulator && c->firebase_storage_emulator)
        (void)take_url(l, c->firebase_storage_emulator, &c->storage_emulator);
    c->loopback_only = c->push_auth == PUSH_AUTH_NONE;
    check_unknown_names(l);
    check_push_auth(l);
    check_precision(l);
    check_emulators(l);
    check_weights(l);
    if ((strncmp(c->oidc_certs_url, "https://", 8) != 0 && !is_loopback_url(c->oidc_certs_url)) ||
        strchr(c->oidc_certs_url, ' '))
        bad_value(l, find("OIDC_CERTS_URL"), c->oidc_certs_url);
    if (c->subscription && !subscription_name_is_valid(c->subscription))
        bad_value(l, find("PUBSUB_SUBSCRIPTION"), c->subscription);
    if (!is_bad(l, "LEASE_SECONDS") && !is_bad(l, "JOB_DEADLINE_SECONDS") &&
        c->lease_s < c->job_deadline_s + CONFIG_LEASE_MARGIN_S)
        problem(l, "LEASE_SECONDS=%d is too short: it must be at least JOB_DEADLINE_SECONDS (%d) + %d", c->lease_s,
                c->job_deadline_s, CONFIG_LEASE_MARGIN_S);
}

int config_load_all(char *const *env, struct arena *a, struct config *ret,
                    void (*report)(void *ctx, const char *problem), void *ctx)
{
    struct config c = { 0 };
    struct load l = { .env = env, .arena = a, .cfg = &c, .report = report, .ctx = ctx };

    take_settings(&l);
    check_rules(&l);
    *ret = c;
    return l.problems;
}

static void first_problem(void *ctx, const char *text)
{
    (void)err_set(ctx, ERR_INVALID, "%s", text);
}

enum err_code config_load(char *const *env, struct arena *a, struct config *ret, struct err *err)
{
    struct config c;

    if (config_load_all(env, a, &c, first_problem, err))
        return ERR_INVALID;
    *ret = c;
    return ERR_OK;
}

void config_forget_secrets(struct config *c)
{
    if (c->firebase_credentials)
        explicit_bzero(c->firebase_credentials, strlen(c->firebase_credentials));
    c->firebase_credentials = NULL;
}

/* ---- printing ---- */

void config_print_help(FILE *to)
{
    char allowed[120];

    (void)fprintf(to, "Settings come from the environment:\n\n");
    for (int i = 0; i < N_SETTINGS; i++) {
        const struct setting *s = &settings[i];

        describe(s, allowed, sizeof allowed);
        (void)fprintf(to, "  %s  (%s%s%s)\n      ", s->name, allowed,
                      s->standard   ? "; default "
                      : s->required ? "; required"
                                    : "",
                      s->standard ? s->standard : "");
        for (const char *p = s->meaning; *p; p++)
            if (*p != '`')
                (void)fputc(*p, to);
        (void)fputc('\n', to);
    }
}

void config_print_markdown(FILE *to)
{
    char allowed[120];

    (void)fprintf(to, "| name | default | allowed | meaning |\n| --- | --- | --- | --- |\n");
    for (int i = 0; i < N_SETTINGS; i++) {
        const struct setting *s = &settings[i];

        describe(s, allowed, sizeof allowed);
        (void)fprintf(to, "| `%s` | %s | %s | %s |\n", s->name,
                      s->standard   ? s->standard
                      : s->required ? "must be set"
                                    : "–",
                      allowed, s->meaning);
    }
}

static void print_list(const struct config_list *list, FILE *to)
{
    for (int i = 0; i < list->n; i++)
        (void)fprintf(to, "%s%s", i ? "," : "", list->items[i]);
}

static const char *word_of(const struct setting *s, int value)
{
    int i = 0;

    if (!s->values)
        return s->choices[value];
    while (s->choices[i + 1] && s->values[i] != value)
        i++;
    return s->choices[i];
}

static void print_value(const struct setting *s, const void *value, FILE *to)
{
    const char *text = NULL;

    switch (s->kind) {
    case INT:
        if (s->none && *(const int *)value == 0)
            text = s->none;
        else
            (void)fprintf(to, "%d", *(const int *)value);
        break;
    case NUMBER:
        (void)fprintf(to, "%g", *(const double *)value);
        break;
    case CHOICE:
        (void)fprintf(to, "%s", word_of(s, *(const int *)value));
        break;
    case SWITCH:
        (void)fprintf(to, "%s", s->choices[*(const bool *)value]);
        break;
    case LIST:
    case EMAILS:
        print_list(value, to);
        break;
    case SECRET:
        (void)fprintf(to, "%s", *(char *const *)value ? "(set)" : "");
        break;
    default:
        text = *(const char *const *)value;
        (void)fprintf(to, "%s", text ? text : s->none ? s->none : "");
    }
}

void config_print_values(const struct config *c, FILE *to)
{
    for (int i = 0; i < N_SETTINGS; i++) {
        (void)fprintf(to, "%s=", settings[i].name);
        print_value(&settings[i], (const char *)c + settings[i].offset, to);
        (void)fputc('\n', to);
    }
}
