#include "worker/base/config.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"
#include "models/fill/fill.h"
#include "test/support/check.h"
#include "worker/base/log.h"

#define GOOD                                                                                        \
    "FIREBASE_STORAGE_BUCKET=b.appspot.com", "PUSH_AUTH=oidc", "PUSH_AUDIENCE=https://w.example/p", \
        "PUSH_SERVICE_ACCOUNT=push@demo.iam.gserviceaccount.com"

static struct arena arena;
static struct err err;

static enum err_code load(char *const *env, struct config *c)
{
    arena_done(&arena);
    err = (struct err){ 0 };
    CHECK_OK(arena_init(&arena, 1 << 20, &err), err);
    return config_load(env, &arena, c, &err);
}

#define LOAD(c, ...) load((char *[]){ __VA_ARGS__, NULL }, c)

TEST(config__defaults_are_the_documented_ones)
{
    struct config c;

    CHECK_OK(LOAD(&c, GOOD), err);
    CHECK_INT(c.port, 8080);
    CHECK_STR(c.bucket, "b.appspot.com");
    CHECK_INT(c.push_auth, PUSH_AUTH_OIDC);
    CHECK_INT(c.push_audiences.n, 1);
    CHECK_STR(c.push_audiences.items[0], "https://w.example/p");
    CHECK_STR(c.oidc_certs_url, "https://www.googleapis.com/oauth2/v3/certs");
    CHECK_STR(c.model_dir, "/models");
    CHECK(!c.transformer && !c.subscription && !c.project && !c.firebase_credentials && !c.storage_emulator);
    CHECK_INT(c.backend, BACKEND_AUTO);
    CHECK_INT(c.precision, PRECISION_AUTO);
    CHECK_INT(c.steps, 28);
    CHECK(c.guidance == 30 && c.cost_per_second == 0.00039);
    CHECK_INT(c.max_attempts, 5);
    CHECK_INT(c.queue_depth, 8);
    CHECK_INT(c.job_deadline_s, 280);
    CHECK_INT(c.lease_s, 360);
    CHECK_INT(c.log_level, LOG_INFO);
    CHECK(!c.loopback_only && !c.on_cloud_run);
}

TEST(config__takes_every_setting)
{
    struct config c;

    CHECK_OK(LOAD(&c, "PUSH_AUTH=iam", "PUSH_AUDIENCE=a, b ,c", "PUSH_SERVICE_ACCOUNT=x@y,z@y",
                  "FIREBASE_STORAGE_BUCKET=bkt", "PORT=65535", "GOOGLE_APPLICATION_CREDENTIALS=/secrets/sa key.json",
                  "GOOGLE_CLOUD_PROJECT=demo", "FIREBASE_CREDENTIALS=e30=", "OIDC_CERTS_URL=http://127.0.0.1:81/certs",
                  "PUBSUB_SUBSCRIPTION=projects/demo/subscriptions/s", "MODEL_DIR=/m", "TRANSFORMER=q.gguf",
                  "BACKEND=cpu", "PRECISION=BF16", "STEPS=1", "GUIDANCE=2.5", "MAX_ATTEMPTS=100", "QUEUE_DEPTH=0",
                  "JOB_DEADLINE_SECONDS=3490", "LEASE_SECONDS=3500", "COST_PER_SECOND=1e-3",
                  "GCE_METADATA_HOST=127.0.0.1:82", "LOG_LEVEL=WARNING", "K_SERVICE=worker", "OTHER=x", "INPAINTX=1"),
             err);
    CHECK_INT(c.push_auth, PUSH_AUTH_IAM);
    CHECK_INT(c.push_audiences.n, 3);
    CHECK_STR(c.push_audiences.items[1], "b");
    CHECK_INT(c.push_accounts.n, 2);
    CHECK_INT(c.port, 65535);
    CHECK_STR(c.credentials_file, "/secrets/sa key.json");
    CHECK_STR(c.firebase_credentials, "e30=");
    CHECK_STR(c.oidc_certs_url, "http://127.0.0.1:81/certs");
    CHECK_STR(c.subscription, "projects/demo/subscriptions/s");
    CHECK_STR(c.transformer, "q.gguf");
    CHECK_INT(c.backend, BACKEND_CPU);
    CHECK_INT(c.precision, PRECISION_BF16);
    CHECK(c.guidance == 2.5 && c.cost_per_second == 1e-3);
    CHECK_INT(c.queue_depth, 0);
    CHECK_INT(c.lease_s, 3500);
    CHECK_STR(c.metadata_host, "127.0.0.1:82");
    CHECK_INT(c.log_level, LOG_WARNING);
    CHECK(c.on_cloud_run && !c.loopback_only);
}

/* A setting, and a part of the message it must lead to. */
TEST(config__a_bad_value_is_named_with_what_is_allowed)
{
    static const struct {
        char *setting;
        const char *message;
    } cases[] = {
        { "GOOGLE_APPLICATION_CREDENTIALS={\"private_key\":\"CANARY\"}",
          "GOOGLE_APPLICATION_CREDENTIALS is not the path of a file, without blanks, quotes or line breaks around it; a key itself belongs in FIREBASE_CREDENTIALS" },
        { "PORT=0", "PORT='0' is not valid; allowed: 1 to 65535" },
        { "PORT=65536", "1 to 65535" },
        { "PORT=80x", "'80x'" },
        { "PORT= 80", "PORT" },
        { "PORT=+80", "PORT" },
        { "PORT=99999999999999999999", "PORT" },
        { "PORT=1e3", "PORT" },
        { "MAX_ATTEMPTS=0", "1 to 100" },
        { "MAX_ATTEMPTS=101", "1 to 100" },
        { "MAX_MESSAGE_AGE_SECONDS=1", "600 to 2678400" },
        { "QUEUE_DEPTH=-1", "0 to 1000" },
        { "QUEUE_DEPTH=1001", "0 to 1000" },
        { "JOB_DEADLINE_SECONDS=4", "5 to 3500" },
        { "LEASE_SECONDS=3501", "5 to 3500" },
        { "GUIDANCE=nan", "GUIDANCE" },
        { "GUIDANCE=inf", "GUIDANCE" },
        { "GUIDANCE=-1", "GUIDANCE" },
        { "GUIDANCE=0x1p3", "GUIDANCE" },
        { "COST_PER_SECOND=1,5", "COST_PER_SECOND" },
        { "BACKEND=gpu", "auto, cpu, plain, cuda" },
        { "PRECISION=default", "PRECISION='default' is not valid; allowed: auto, f32, bf16" },
        { "PRECISION=int8", "auto, f32, bf16" },
        { "LOG_LEVEL=loud", "debug, info" },
        { "OIDC_CERTS_URL=http://evil.example/certs", "loopback" },
        { "OIDC_CERTS_URL=http://127.0.0.1:8@evil.example/", "loopback" },
        { "OIDC_CERTS_URL=http://127.0.0.1.evil.example/", "loopback" },
        { "OIDC_CERTS_URL=ftp://x", "https" },
        { "PUBSUB_SUBSCRIPTION=s", "projects/PROJECT/subscriptions/NAME" },
        { "PUBSUB_SUBSCRIPTION=projects/demo/subscriptions/s ", "projects/PROJECT/subscriptions/NAME" },
        { "PUBSUB_SUBSCRIPTION=projects/demo/subscriptions/", "projects/PROJECT/subscriptions/NAME" },
        { "PUBSUB_SUBSCRIPTION=projects//subscriptions/s", "projects/PROJECT/subscriptions/NAME" },
        { "MODEL_DIR=\"/m\"", "MODEL_DIR='\"/m\"' is not valid; allowed: path, without quotes around it" },
        { "TRANSFORMER='auto'", "without quotes around it" },
        { "GOOGLE_APPLICATION_CREDENTIALS=/k.json ", "without blanks, quotes or line breaks around it" },
        { "GOOGLE_APPLICATION_CREDENTIALS=/k.json\r", "without blanks, quotes or line breaks around it" },
        { "OIDC_CERTS_URL=https://x/certs ", "https URL" },
        { "GOOGLE_CLOUD_PROJECT=a/b", "letters, digits" },
        { "MODEL_DIR=/a\nb", "MODEL_DIR" },
        { "GCE_METADATA_HOST=http://x", "host:port" },
        { "GCE_METADATA_HOST=x:99999", "host:port" },
        { "FIRESTORE_EMULATOR_HOST=http://127.0.0.1:1", "host:port" },
        { "STORAGE_EMULATOR_HOST=gs://x", "http://host:port" },
        { "STORAGE_EMULATOR_HOST=http://x/y", "http://host:port" },
        { "FIREBASE_STORAGE_EMULATOR_HOST=http://x:1", "host:port" },
        { "INPAINT_STEPS=4", "INPAINT_STEPS is not a setting: did you mean STEPS?" },
        { "INPAINT_NOPE=4", "INPAINT_NOPE is not a setting" },
        { "INPAINT_EMPTY=", "INPAINT_EMPTY" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config c = { .port = -7 };

        CHECK_INT(LOAD(&c, GOOD, cases[i].setting), ERR_INVALID);
        if (!strstr(err.msg, cases[i].message))
            CHECK_STR(err.msg, cases[i].message);
        CHECK_INT(c.port, -7); /* the caller's struct is unchanged */
    }
}

TEST(config__f32_is_refused_on_cuda_alone_with_what_to_set_instead)
{
    struct config c;

    CHECK_INT(LOAD(&c, GOOD, "BACKEND=cuda", "PRECISION=f32"), ERR_INVALID);
    CHECK(strstr(err.msg, "PRECISION=f32 is not possible with BACKEND=cuda"));
    CHECK(strstr(err.msg, "PRECISION=auto or bf16, or BACKEND=cpu"));
    CHECK_OK(LOAD(&c, GOOD, "BACKEND=auto", "PRECISION=f32"), err);
    CHECK_INT(c.precision, PRECISION_F32);
    CHECK_OK(LOAD(&c, GOOD, "BACKEND=plain", "PRECISION=f32"), err);
    CHECK_OK(LOAD(&c, GOOD, "BACKEND=cuda", "PRECISION=bf16"), err);
    CHECK_OK(LOAD(&c, GOOD, "BACKEND=cuda"), err);
}

TEST(config__a_bucket_need_not_be_set)
{
    struct config c;

    CHECK_OK(LOAD(&c, "PUSH_AUTH=oidc", "PUSH_AUDIENCE=a", "PUSH_SERVICE_ACCOUNT=x@y"), err);
    CHECK(!c.bucket);
    CHECK_INT(LOAD(&c, GOOD, "FIREBASE_STORAGE_BUCKET="), ERR_OK);
}

TEST(config__a_required_setting_that_is_missing_is_named)
{
    struct config c;

    CHECK_INT(LOAD(&c, "FIREBASE_STORAGE_BUCKET=bkt", "PUSH_AUDIENCE=a", "PUSH_SERVICE_ACCOUNT=x@y"), ERR_INVALID);
    CHECK(strstr(err.msg, "PUSH_AUTH is not set"));
    CHECK_INT(LOAD(&c, "FIREBASE_STORAGE_BUCKET=gs://b", "PUSH_AUTH="), ERR_INVALID);
    CHECK(strstr(err.msg, "FIREBASE_STORAGE_BUCKET='gs://b' is not valid; allowed: bucket name"));
    CHECK_INT(LOAD(&c, "PUSH_AUTH=", "PUSH_AUDIENCE=a", "PUSH_SERVICE_ACCOUNT=x@y"), ERR_INVALID);
    CHECK(strstr(err.msg, "PUSH_AUTH is not set")); /* an empty value counts as not set */
    CHECK_INT(LOAD(&c, "FIREBASE_STORAGE_BUCKET=bkt", "PUSH_AUTH=iam", "PUSH_SERVICE_ACCOUNT=x@y"), ERR_INVALID);
    CHECK(strstr(err.msg, "PUSH_AUDIENCE is not set"));
    CHECK_INT(LOAD(&c, "FIREBASE_STORAGE_BUCKET=bkt", "PUSH_AUTH=oidc", "PUSH_AUDIENCE=a"), ERR_INVALID);
    CHECK(strstr(err.msg, "PUSH_SERVICE_ACCOUNT is not set"));
    CHECK_INT(
        LOAD(&c, "FIREBASE_STORAGE_BUCKET=bkt", "PUSH_AUTH=oidc", "PUSH_AUDIENCE=a,,b", "PUSH_SERVICE_ACCOUNT=x@y"),
        ERR_INVALID);
    CHECK(strstr(err.msg, "PUSH_AUDIENCE='a,,b'"));
    CHECK_INT(LOAD(&c, "FIREBASE_STORAGE_BUCKET=bkt", "PUSH_AUTH=oidc", "PUSH_AUDIENCE=a", "PUSH_SERVICE_ACCOUNT=x"),
              ERR_INVALID);
    CHECK(strstr(err.msg, "e-mail"));
}

TEST(config__pushes_without_tokens_need_an_emulator_and_loopback)
{
    struct config c;

    CHECK_INT(LOAD(&c, "FIREBASE_STORAGE_BUCKET=bkt", "PUSH_AUTH=none"), ERR_INVALID);
    CHECK(strstr(err.msg, "EMULATOR"));
    CHECK_OK(LOAD(&c, "FIREBASE_STORAGE_BUCKET=bkt", "PUSH_AUTH=none", "FIRESTORE_EMULATOR_HOST=[::1]:8185"), err);
    CHECK(c.loopback_only);
    CHECK_STR(c.firestore_emulator, "[::1]:8185");
    CHECK_OK(LOAD(&c, "FIREBASE_STORAGE_BUCKET=bkt", "PUSH_AUTH=none", "FIREBASE_STORAGE_EMULATOR_HOST=127.0.0.1:9199"),
             err);
    CHECK(c.loopback_only);
}

TEST(config__storage_emulators_are_read_as_google_reads_them)
{
    struct config c;

    CHECK_OK(LOAD(&c, GOOD, "STORAGE_EMULATOR_HOST=127.0.0.1:4443"), err);
    CHECK_STR(c.storage_emulator, "http://127.0.0.1:4443");
    CHECK_OK(LOAD(&c, GOOD, "STORAGE_EMULATOR_HOST=https://gcs:4443/"), err);
    CHECK_STR(c.storage_emulator, "https://gcs:4443");
    CHECK_OK(LOAD(&c, GOOD, "FIREBASE_STORAGE_EMULATOR_HOST=localhost:9199"), err);
    CHECK_STR(c.storage_emulator, "http://localhost:9199");
    CHECK_OK(LOAD(&c, GOOD, "FIREBASE_STORAGE_EMULATOR_HOST=localhost:9199", "STORAGE_EMULATOR_HOST=x:1"), err);
    CHECK_STR(c.storage_emulator, "http://x:1");
}

TEST(config__an_emulator_on_cloud_run_is_refused)
{
    struct config c;

    CHECK_INT(LOAD(&c, GOOD, "K_SERVICE=w", "FIRESTORE_EMULATOR_HOST=x:1"), ERR_INVALID);
    CHECK(strstr(err.msg, "FIRESTORE_EMULATOR_HOST is set on Cloud Run"));
    CHECK_INT(LOAD(&c, GOOD, "K_SERVICE=w", "FIREBASE_STORAGE_EMULATOR_HOST=x:1"), ERR_INVALID);
    CHECK_OK(LOAD(&c, GOOD, "K_SERVICE=", "FIRESTORE_EMULATOR_HOST=x:1"), err);
}

TEST(config__takes_as_many_steps_as_the_model_does_and_no_more)
{
    struct config c;

    CHECK_INT(CONFIG_STEPS_MAX, FILL_MAX_STEPS);
    CHECK_OK(LOAD(&c, GOOD, "STEPS=1000"), err);
    CHECK_INT(LOAD(&c, GOOD, "STEPS=1001"), ERR_INVALID);
    CHECK(strstr(err.msg, "1 to 1000"));
}

TEST(config__the_lease_outlives_the_deadline)
{
    struct config c;

    CHECK_OK(LOAD(&c, GOOD, "JOB_DEADLINE_SECONDS=350"), err);
    CHECK_INT(LOAD(&c, GOOD, "JOB_DEADLINE_SECONDS=351"), ERR_INVALID);
    CHECK_STR(err.msg, "LEASE_SECONDS=360 is too short: it must be at least JOB_DEADLINE_SECONDS (351) + 10");
}

struct seen {
    int n;
    char all[2000];
};

static void count_text(void *ctx, const char *text)
{
    struct seen *seen = ctx;

    seen->n++;
    (void)strncat(seen->all, text, sizeof seen->all - strlen(seen->all) - 1);
}

/* Loads an environment that is wrong; `seen` gets the problems, a line each. */
static int problems(struct seen *seen, char **env)
{
    struct config c;

    *seen = (struct seen){ 0 };
    CHECK_INT(LOAD(&c, GOOD), ERR_OK); /* opens the arena */
    return config_load_all(env, &arena, &c, count_text, seen);
}

TEST(config__weights_win_over_the_model_folder)
{
    struct config c;

    CHECK_OK(LOAD(&c, GOOD), err);
    CHECK(!c.weights && !c.weights_are_remote);
    CHECK_STR(c.models, "/models");
    CHECK_OK(LOAD(&c, GOOD, "MODEL_DIR=/m"), err);
    CHECK_STR(c.models, "/m");
    CHECK_OK(LOAD(&c, GOOD, "MODEL_DIR=/m", "WEIGHTS=/w"), err);
    CHECK_STR(c.models, "/w");
    CHECK_STR(c.model_dir, "/m");
    CHECK(!c.weights_are_remote);
    CHECK_OK(LOAD(&c, GOOD, "MODEL_DIR=/m", "WEIGHTS=gs://bucket/models/fill/"), err);
    CHECK_STR(c.models, "gs://bucket/models/fill");
    CHECK(c.weights_are_remote);
    CHECK_OK(LOAD(&c, GOOD, "WEIGHTS=gs://bucket"), err);
    CHECK_STR(c.models, "gs://bucket");
    for (int i = 0; i < 5; i++) {
        static char *const bad[] = { "WEIGHTS=models", "WEIGHTS=./models", "WEIGHTS=s3://bucket/x",
                                     "WEIGHTS=https://storage.googleapis.com/b", "WEIGHTS=gs://b/x" };

        CHECK_INT(LOAD(&c, GOOD, bad[i]), ERR_INVALID);
        CHECK(strstr(err.msg, "absolute path, or gs://BUCKET/PREFIX"));
    }
}

TEST(config__load_all_reports_every_problem)
{
    struct seen seen;

    CHECK_INT(problems(&seen, (char *[]){ "PORT=x", "STEPS=0", "INPAINT_A=1", "PUSH_AUTH=oidc", NULL }), 4);
    CHECK_INT(seen.n, 4);
    CHECK(strstr(seen.all, "PORT") && strstr(seen.all, "STEPS") && strstr(seen.all, "INPAINT_A") &&
          strstr(seen.all, "PUSH_AUDIENCE, PUSH_SERVICE_ACCOUNT are not set"));
}

TEST(config__a_setting_is_reported_once)
{
    static char *const cases[][3] = {
        { "PUSH_AUDIENCE=a,,b", "PUSH_SERVICE_ACCOUNT=x@y", "PUSH_AUTH=oidc" },
        { "PUSH_AUDIENCE=a", "PUSH_SERVICE_ACCOUNT=x", "PUSH_AUTH=oidc" },
        { "PUSH_AUDIENCE=\"https://a\"", "PUSH_SERVICE_ACCOUNT=x@y", "PUSH_AUTH=oidc" },
        { "PUSH_AUDIENCE=a", "PUSH_SERVICE_ACCOUNT=x@y,serviceAccount:x@y", "PUSH_AUTH=oidc" },
        { "PUSH_AUDIENCE=a", "PUSH_SERVICE_ACCOUNT=x@y;z@y", "PUSH_AUTH=oidc" },
        { "PUSH_AUDIENCE=a", "PUSH_SERVICE_ACCOUNT=x@y", "PUSH_AUTH=maybe" },
    };
    struct seen seen;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_INT(problems(&seen, (char *[]){ cases[i][0], cases[i][1], cases[i][2], NULL }), 1);
    CHECK_INT(problems(&seen, (char *[]){ "PUSH_AUTH=maybe", "FIRESTORE_EMULATOR_HOST=x:1", NULL }), 1);
    CHECK_INT(problems(&seen, (char *[]){ GOOD, "LEASE_SECONDS=x", "JOB_DEADLINE_SECONDS=3400", NULL }), 1);
    CHECK_INT(problems(&seen, (char *[]){ GOOD, "JOB_DEADLINE_SECONDS=x", "LEASE_SECONDS=20", NULL }), 1);
    CHECK_INT(problems(&seen, (char *[]){ GOOD, "K_SERVICE=w", "FIRESTORE_EMULATOR_HOST=a/b", NULL }), 1);
    CHECK_INT(problems(&seen, (char *[]){ "PUSH_AUTH=maybe", NULL }), 2);
}

TEST(config__who_may_push_is_asked_for_at_once_with_lines_to_copy)
{
    struct seen seen;

    CHECK_INT(problems(&seen, (char *[]){ "GOOGLE_CLOUD_PROJECT=demo", NULL }), 1);
    CHECK(strstr(seen.all, "PUSH_AUTH, PUSH_AUDIENCE, PUSH_SERVICE_ACCOUNT are not set"));
    CHECK(strstr(seen.all, "\nPUSH_AUTH=oidc\nPUSH_AUDIENCE=https://"));
    CHECK(strstr(seen.all, "\nPUSH_SERVICE_ACCOUNT=ACCOUNT-OF-THE-SUBSCRIPTION@demo.iam.gserviceaccount.com"));
    CHECK_INT(problems(&seen, (char *[]){ "FIRESTORE_EMULATOR_HOST=x:1", NULL }), 1);
    CHECK(strstr(seen.all, "PUSH_AUTH is not set") && strstr(seen.all, "\nPUSH_AUTH=none"));
}

static const char *printed(void (*print)(FILE *), const struct config *c)
{
    static char text[16384];
    FILE *f = fmemopen(text, sizeof text, "w");

    CHECK(f);
    if (c)
        config_print_values(c, f);
    else
        print(f);
    (void)fclose(f);
    return text;
}

TEST(config__secrets_are_never_printed_and_can_be_forgotten)
{
    char secret[] = "FIREBASE_CREDENTIALS=c2VjcmV0", *huge = calloc(1, 40000);
    struct config c;

    CHECK_OK(LOAD(&c, GOOD, secret), err);
    CHECK(!strstr(printed(NULL, &c), "c2VjcmV0"));
    CHECK(strstr(printed(NULL, &c), "FIREBASE_CREDENTIALS=(set)"));
    CHECK(strstr(printed(NULL, &c), "PUSH_AUDIENCE=https://w.example/p\n"));
    config_forget_secrets(&c);
    CHECK(!c.firebase_credentials && secret[21] == 0 && secret[28] == 0);

    memset(huge, 'x', 39999);
    memcpy(huge, "FIREBASE_CREDENTIALS=secret", 27);
    CHECK_INT(LOAD(&c, GOOD, huge), ERR_INVALID);
    CHECK(strstr(err.msg, "FIREBASE_CREDENTIALS") && !strstr(err.msg, "secret"));
    free(huge);
}

TEST(config__help_and_readme_come_from_the_table)
{
    const char *help = printed(config_print_help, NULL), *table;
    static char readme[1 << 17];
    FILE *f;

    CHECK(strstr(help, "JOB_DEADLINE_SECONDS  (5 to 3500; default 280)"));
    CHECK(strstr(help, "PUSH_AUTH  (oidc, iam, none; required)"));
    CHECK(!strchr(help, '`'));
    table = printed(config_print_markdown, NULL);
    CHECK(strstr(table, "| `STEPS` | 28 | 1 to 1000 | denoising steps |"));
    f = fopen("README.md", "r");
    if (!f)
        SKIP("there is no README.md");
    readme[fread(readme, 1, sizeof readme - 1, f)] = 0;
    (void)fclose(f);
    if (!strstr(readme, table))
        test_fail(__FILE__, __LINE__,
                  "the settings in README.md are not those of 'inpaint-worker serve --settings-table'");
}
