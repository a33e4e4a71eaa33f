#include "worker/cli/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "models/file/tensor_file.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/outputs.h"

extern char **environ;

static char printed[16384];

/* Runs the command, which asks no service, with `env` as its whole environment; afterwards `printed` holds its output. */
static int doctor(char **env, char *option)
{
    char *argv[] = { "doctor", "--offline", option, NULL }, **real_env = environ;
    const char *path = temp_path("doctor.txt");
    const struct outputs before = outputs_redirect(path);
    FILE *f;
    int status;

    environ = env;
    status = cmd_doctor(option ? 3 : 2, argv);
    environ = real_env;
    outputs_restore(&before);
    f = fopen(path, "r");
    CHECK(f);
    printed[fread(printed, 1, sizeof printed - 1, f)] = 0;
    (void)fclose(f);
    return status;
}

#define EMULATED                                                                          \
    "FIREBASE_STORAGE_BUCKET=bkt", "PUSH_AUTH=none", "FIRESTORE_EMULATOR_HOST=127.0.0.1:1", \
        "STORAGE_EMULATOR_HOST=127.0.0.1:1", "BACKEND=plain"

TEST(cmd_doctor__finds_nothing_wrong_with_a_whole_installation)
{
    static char dir[600];

    (void)snprintf(dir, sizeof dir, "MODEL_DIR=%s", golden("small/models"));
    CHECK_INT(doctor((char *[]){ EMULATED, dir, NULL }, NULL), 0);
    CHECK(strstr(printed, "Everything is there."));
    CHECK(strstr(printed, "flux1-fill") && strstr(printed, "emulator") && strstr(printed, "plain, f32"));
    CHECK(!strstr(printed, "wrong"));
}

TEST(cmd_doctor__goes_on_after_what_is_wrong_with_authorities_or_the_proxy)
{
    static char dir[600];

    (void)snprintf(dir, sizeof dir, "MODEL_DIR=%s", golden("small/models"));
    CHECK_INT(doctor((char *[]){ EMULATED, dir, "PORT=x", "SSL_CERT_FILE=/nowhere.pem", NULL }, NULL), 1);
    for (const char *const *word = (const char *const[]){ "PORT='x'", "SSL_CERT_FILE: '/nowhere.pem'", "flux1-fill",
                                                          "wrong: 2", NULL };
         *word; word++)
        if (!strstr(printed, *word))
            CHECK_STR(printed, *word);
}

TEST(cmd_doctor__opens_the_backend_in_the_precision_of_the_service)
{
    static const struct {
        char *backend, *precision;
        const char *want;
    } cases[] = {
        { "BACKEND=plain", "PRECISION=auto", "plain, f32" },
        { "BACKEND=plain", "PRECISION=bf16", "plain, bf16" },
        { "BACKEND=cpu", "PRECISION=f32", ", f32" },
        { "BACKEND=cpu", "PRECISION=bf16", ", bf16" },
        { "BACKEND=cuda", "PRECISION=f32", "PRECISION=auto or bf16, or BACKEND=cpu" },
    };
    static char dir[600];

    (void)snprintf(dir, sizeof dir, "MODEL_DIR=%s", golden("small/models"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)doctor((char *[]){ cases[i].backend, cases[i].precision, EMULATED, dir, NULL }, NULL);
        if (!strstr(printed, cases[i].want))
            CHECK_STR(printed, cases[i].want);
    }
}

/* Links a file into the folder `doctor`; its path there. */
static const char *link_file(const char *from, const char *name)
{
    char *real = realpath(from, NULL), in_folder[80];
    const char *to;

    (void)snprintf(in_folder, sizeof in_folder, "doctor/%s", name);
    to = temp_path(in_folder);
    CHECK(real && symlink(real, to) == 0);
    free(real);
    return to;
}

/* Links a model into a new folder, so that the self-check may store values there; `dir` gets the setting MODEL_DIR for
 * it. */
static void link_models(char dir[600])
{
    const char *to = link_file(golden("small/models/flux1-fill-Q8_0.gguf"), "flux1-fill-Q8_0.gguf");

    (void)snprintf(dir, 600, "MODEL_DIR=%.*s", (int)(strrchr(to, '/') - to), to);
    (void)link_file(golden("small/models/ae.safetensors"), "ae.safetensors");
    (void)link_file(golden("small/cases/text.safetensors"), "prompts.safetensors");
}

static bool has_values(void)
{
    return access(temp_path("doctor/flux1-fill-Q8_0.gguf.plain-F32.check"), F_OK) == 0;
}

/* What is not used is listed too, with what it is and what to do. */
TEST(cmd_doctor__lists_what_lies_in_the_model_folder)
{
    static const float values[64];
    static const struct tensor_write dev[] = { { "img_in.weight", DT_F32, 2, { 1, 64 }, values },
                                               { "guidance_in.in_layer.weight", DT_F32, 1, { 1 }, values } };
    static char dir[600], folder[512];
    struct err err = { 0 };

    (void)snprintf(dir, sizeof dir, "MODEL_DIR=%s", golden("small/models"));
    (void)doctor((char *[]){ EMULATED, dir, NULL }, NULL);
    CHECK(strstr(printed, " MB) is FLUX.1's autoencoder, used as VAE\n"));
    CHECK(strstr(printed, " is FLUX.1-Fill, used as transformer\n"));
    temp_folder("doctor-list", folder, sizeof folder);
    (void)snprintf(dir, sizeof dir, "MODEL_DIR=%s", folder);
    CHECK_OK(safetensors_write(temp_path("doctor-list/flux\x1b[1m.safetensors"), dev, 2, NULL, 0, &err), err);
    CHECK_INT(doctor((char *[]){ EMULATED, dir, NULL }, NULL), 1);
    CHECK(strstr(printed, "flux\\x1b[1m.safetensors (0.0 MB) is FLUX.1-dev, Kontext or Krea: it has 64 input channels, "
                          "Fill has 384; take a file of FLUX.1-Fill-dev"));
    CHECK(strstr(printed, "wrong  transformer"));
}

TEST(cmd_doctor__says_what_is_wrong_with_loras_and_examines_the_model_without)
{
    static const struct {
        char *setting;
        const char *want;
    } cases[] = { { "LORAS=nope", "wrong  LORAS           there is no LoRA 'nope' in " },
                  { "LORAS=xlabs:11", "wrong  LORAS           LoRA 'xlabs': the scale is 11" },
                  { "LORAS=flux1-fill-Q8_0.gguf", "is no part of a LoRA" },
                  { "LORAS=xlabs: 0.5 , xlabs.safetensors", "ok     LoRAs           2, merged" } };
    static char dir[600];

    link_models(dir);
    (void)link_file(golden("lora/xlabs.safetensors"), "xlabs.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const bool good = i == 3;

        CHECK_INT(doctor((char *[]){ EMULATED, dir, cases[i].setting, NULL }, NULL), !good);
        CHECK(strstr(printed, cases[i].want) && strstr(printed, "ok     model  ") && !strstr(printed, "do not belong to one"));
        CHECK(!strstr(printed, "xlabs.safetensors (0.0 MB) is a LoRA, used as LORAS says\n") == !good);
    }
    CHECK_INT(doctor((char *[]){ EMULATED, dir, "LORAS=xlabs:0.5", NULL }, "--self-check"), 0);
    CHECK(strstr(printed, "values stored beside"));
    CHECK_INT(doctor((char *[]){ EMULATED, dir, "LORAS=xlabs:0.5", NULL }, "--self-check"), 0);
    CHECK(strstr(printed, "as stored"));
    CHECK_INT(doctor((char *[]){ EMULATED, dir, "LORAS=xlabs:0.6", NULL }, "--self-check"), 0);
    CHECK(strstr(printed, "values stored beside"));
}

TEST(cmd_doctor__stores_the_values_of_a_model_once_and_then_compares)
{
    static char dir[600];
    char *env[] = { EMULATED, dir, NULL };

    link_models(dir);
    CHECK_INT(doctor(env, "--self-check"), 0);
    CHECK(strstr(printed, "ok     self-check") && strstr(printed, "values stored beside"));
    CHECK_INT(doctor(env, "--self-check"), 0);
    CHECK(strstr(printed, "ok     self-check") && strstr(printed, "as stored"));
}

/* Weights can be checked on a machine that is none to serve on. */
TEST(cmd_doctor__checks_values_whatever_is_wrong_outside_the_model)
{
    static char dir[600];
    char *env[] = { dir, "BACKEND=plain", "PORT=x", NULL };

    link_models(dir);
    CHECK_INT(doctor(env, "--self-check"), 1);
    CHECK(strstr(printed, "PORT='x'") && strstr(printed, "ok     self-check") && has_values());
    (void)snprintf(dir, sizeof dir, "MODEL_DIR=/nowhere");
    CHECK_INT(doctor(env, "--self-check"), 1);
    CHECK(strstr(printed, "note   self-check      not done"));
}

/* A file with the name and the size of CLIP's merges, full of zeros. */
TEST(cmd_doctor__stores_no_values_of_a_model_with_a_known_file_that_is_damaged)
{
    static char dir[600];
    char *env[] = { EMULATED, dir, NULL }, folder[600], merges[700], *real;
    FILE *f;

    link_models(dir);
    temp_folder("doctor/tokenizer", folder, sizeof folder);
    (void)snprintf(merges, sizeof merges, "%s/vocab.json", folder);
    real = realpath(golden("small/models/tokenizer/vocab.json"), NULL);
    CHECK(real && symlink(real, merges) == 0);
    free(real);
    (void)snprintf(merges, sizeof merges, "%s/merges.txt", folder);
    f = fopen(merges, "w");
    CHECK(f && fseek(f, 524618, SEEK_SET) == 0 && fputc(0, f) == 0 && fclose(f) == 0);
    CHECK_INT(doctor(env, "--self-check"), 1);
    CHECK(strstr(printed, "wrong  model file      merges.txt: it has the name and size of "));
    CHECK(strstr(printed, "note   model file      flux1-fill-Q8_0.gguf: unknown file, sha256 "));
    CHECK(strstr(printed, "ae.safetensors has ") && strstr(printed, "the published file of this name"));
    CHECK(!strstr(printed, "self-check") && !has_values());
    CHECK(unlink(merges) == 0);
    CHECK_INT(doctor(env, "--self-check"), 0);
    CHECK(has_values());
}

/* A part of the transformer was never written. */
TEST(cmd_doctor__stores_no_values_of_a_model_with_a_hole)
{
    static const char zeros[2 * 4096];
    static char dir[600];
    char *env[] = { EMULATED, dir, NULL };
    const char *path = temp_path("doctor/flux1-fill-Q8_0.gguf");
    struct arena a;
    struct span whole;
    struct err err = { 0 };

    link_models(dir);
    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    CHECK_OK(file_read(path, 32 << 20, &a, &whole, &err), err);
    memcpy((char *)whole.ptr + whole.len / 2 / 4096 * 4096, zeros, sizeof zeros);
    CHECK(unlink(path) == 0);
    CHECK_OK(file_write(path, whole, &err), err);
    CHECK_INT(doctor(env, "--self-check"), 1);
    CHECK(strstr(printed, "flux1-fill-Q8_0.gguf: tensor '") && strstr(printed, "the download was not finished"));
    CHECK(!has_values());
    arena_done(&a);
}

TEST(cmd_doctor__says_which_files_it_knows)
{
    static char dir[600];
    const char *to = link_file("models/demo/ae.safetensors", "ae.safetensors");

    (void)snprintf(dir, sizeof dir, "MODEL_DIR=%.*s", (int)(strrchr(to, '/') - to), to);
    (void)link_file("models/demo/flux1-fill-demo-Q8_0.gguf", "my-own-name.gguf");
    (void)link_file("models/demo/prompts.safetensors", "prompts.safetensors");
    CHECK_INT(doctor((char *[]){ EMULATED, dir, NULL }, "--self-check"), 0);
    CHECK(strstr(printed, "ok     model file      ae.safetensors: known file, digest right: the VAE of the demo"));
    CHECK(strstr(printed, "ok     model file      my-own-name.gguf: known file, digest right: the transformer"));
    CHECK(strstr(printed, "values stored beside"));
}

TEST(cmd_doctor__reports_everything_that_is_wrong_at_once)
{
    char secret[] = "FIREBASE_CREDENTIALS=c2VjcmV0";

    CHECK_INT(
        doctor((char *[]){ "PORT=x", "INPAINT_STEPS=3", secret, "MODEL_DIR=/nowhere", "BACKEND=plain", NULL }, NULL),
        1);
    CHECK(strstr(printed, "PORT='x'") && strstr(printed, "did you mean STEPS?") &&
          strstr(printed, "PUSH_AUTH, PUSH_AUDIENCE, PUSH_SERVICE_ACCOUNT are not set") &&
          strstr(printed, "\nPUSH_AUTH=oidc\n"));
    CHECK(strstr(printed, "wrong  credentials") && strstr(printed, "wrong  model folder    /nowhere"));
    CHECK(!strstr(printed, "c2VjcmV0") && !strstr(printed, "secret"));
}

TEST(cmd_doctor__shows_values_without_secrets)
{
    CHECK_INT(doctor((char *[]){ EMULATED, "FIREBASE_CREDENTIALS=c2VjcmV0", NULL }, "--values"), 0);
    CHECK(strstr(printed, "FIREBASE_CREDENTIALS=(set)\n") && strstr(printed, "STEPS=28\n") && strstr(printed, "PRECISION=auto\n"));
    CHECK(!strstr(printed, "c2VjcmV0"));
}
