/* The commands fill and vae, from their arguments to their files. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/file/tensor_file.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/outputs.h"
#include "test/support/pictures.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"

/* Runs a command without its output. */
static int quiet(int (*command)(int, char **), const char *const *argv)
{
    const struct outputs before = outputs_redirect(NULL);
    int argc = 0, status;

    while (argv[argc])
        argc++;
    status = command(argc, (char **)(uintptr_t)argv);
    outputs_restore(&before);
    return status;
}
#define RUN(command, ...) quiet(command, (const char *const[]){ __VA_ARGS__, NULL })

static char models[512];

static void find_models(void)
{
    const char *path = golden("small/models/ae.safetensors");

    (void)snprintf(models, sizeof models, "%.*s", (int)(strrchr(path, '/') - path), path);
}

/* Largest difference of two F32 tensors, relative to the largest value of `want`; NaN where one is not finite. */
static double difference(const struct tensor_entry *got, const struct tensor_entry *want)
{
    double diff = 0, top = 0;

    CHECK(got && want && got->dtype == DT_F32 && got->bytes == want->bytes && got->n_dims == want->n_dims);
    for (int i = 0; i < got->n_dims; i++)
        CHECK_INT(got->dims[i], want->dims[i]);
    for (size_t i = 0; i < got->bytes / sizeof(float); i++) {
        float g, w;

        memcpy(&g, (const char *)got->data + i * sizeof g, sizeof g);
        memcpy(&w, (const char *)want->data + i * sizeof w, sizeof w);
        if (!isfinite(g))
            return NAN;
        diff = fmax(diff, fabs((double)g - (double)w));
        top = fmax(top, fabs((double)w));
    }
    return diff / top;
}

static void check_tensors(struct arena *a, const char *got_path, const char *want_path, const char *const *names)
{
    struct tensor_file got, want;
    struct err err = { 0 };

    CHECK_OK(tensor_file_open(got_path, a, &got, &err), err);
    CHECK_OK(tensor_file_open(want_path, a, &want, &err), err);
    for (; *names; names++)
        CHECK(difference(tensor_file_find(&got, span_of(*names)), tensor_file_find(&want, span_of(*names))) <= 1e-4);
}

TEST(cmd_fill__paints_the_official_picture_and_dumps_intermediate_results)
{
    static const char *const names[] = { "masked_latents", "mask", "latents_0", "latents_3", "image_f32", NULL };
    const char *prompt = NULL, *official = golden("small/cases/fill_0.safetensors");
    char out[256], dump[256];
    struct image got, want;
    struct tensor_file f;
    struct arena a = { 0 };
    struct err err = { 0 };

    find_models();
    (void)snprintf(out, sizeof out, "%s", temp_path("out.png"));
    (void)snprintf(dump, sizeof dump, "%s", temp_path("dump.safetensors"));
    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    CHECK_OK(tensor_file_open(official, &a, &f, &err), err);
    CHECK_OK(tensor_file_metadata(&f, "prompt", &a, &prompt, &err), err);
    CHECK_INT(RUN(cmd_fill, "fill", "--models", models, "--image", golden("small/cases/fill_0.image.png"), "--mask",
                  golden("small/cases/fill_0.mask.png"), "--prompt", prompt, "--width", "64", "--height", "64",
                  "--steps", "4", "--guidance", "30.0", "--seed", "5", "--noise", official, "--transformer",
                  "flux1-fill-F32.gguf", "--dump", dump, "--out", out, "--backend", "cpu", "--precision", "f32",
                  "--timings"),
              CLI_DONE);
    check_tensors(&a, dump, official, names);
    picture_from_png(&a, out, &got);
    picture_from_png(&a, golden("small/cases/fill_0.expected.png"), &want);
    CHECK(got.width == want.width && got.height == want.height && got.channels == want.channels);
    for (size_t i = 0; i < image_bytes(&want); i++)
        CHECK(abs(got.pixels[i] - want.pixels[i]) <= 1);
    arena_done(&a);
}

TEST(cmd_fill__tells_failure_from_wrong_usage)
{
    const char *image = golden("small/cases/fill_0.image.png"), *noise = golden("small/cases/fill_1.safetensors");

    find_models();
    CHECK_INT(RUN(cmd_fill, "fill", "--models", models, "--image", image, "--mask", image), CLI_USAGE);
#define PAINT(...) RUN(cmd_fill, "fill", "--out", temp_path("no.png"), "--prompt", "x", "--mask", image, __VA_ARGS__)
    CHECK_INT(PAINT("--models", models, "--image", image, "--steps", "0"), CLI_USAGE);
    CHECK_INT(PAINT("--models", models, "--image", image, "--posterior", "mode"), CLI_USAGE);
    CHECK_INT(PAINT("--models", models, "--image", "/no/such/file"), CLI_FAILED);
    CHECK_INT(PAINT("--models", models, "--image", noise), CLI_FAILED);
    CHECK_INT(PAINT("--models", "/no/such/folder", "--image", image), CLI_FAILED);
    CHECK_INT(PAINT("--models", models, "--image", image, "--transformer", "no-such.gguf"), CLI_FAILED);
    CHECK_INT(PAINT("--models", models, "--image", image, "--noise", noise), CLI_FAILED); /* for another size */
#undef PAINT
    CHECK(access(temp_path("no.png"), F_OK) != 0);
}

TEST(cmd_vae__encodes_and_decodes_the_official_case)
{
    const char *official = golden("small/cases/vae_40x104.safetensors");
    char out[256], picture[256];
    struct image got;
    struct arena a = { 0 };
    struct err err = { 0 };

    find_models();
    (void)snprintf(out, sizeof out, "%s", temp_path("vae.safetensors"));
    (void)snprintf(picture, sizeof picture, "%s", temp_path("vae.png"));
    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    CHECK_INT(RUN(cmd_vae, "vae", "--models", models, "encode", golden("small/cases/vae_40x104.png"), "--out", out),
              CLI_DONE);
    check_tensors(&a, out, official, (const char *const[]){ "mean", "logvar", NULL });
    CHECK_INT(RUN(cmd_vae, "vae", "decode", official, "--models", models, "--out", picture, "--f32", out), CLI_DONE);
    check_tensors(&a, out, official, (const char *const[]){ "decoded", NULL });
    picture_from_png(&a, picture, &got);
    CHECK(got.width == 40 && got.height == 104 && got.channels == 3);
    arena_done(&a);
}

TEST(cmd_vae__tells_failure_from_wrong_usage)
{
    const char *image = golden("small/cases/fill_0.image.png"), *out = temp_path("no");

    find_models();
    CHECK_INT(RUN(cmd_vae, "vae", "--models", models, "transcode", image, "--out", out), CLI_USAGE);
    CHECK_INT(RUN(cmd_vae, "vae", "--models", models, "encode", "--out", out), CLI_USAGE);
    CHECK_INT(RUN(cmd_vae, "vae", "--models", models, "decode", image, "--out", out), CLI_FAILED);
    CHECK_INT(RUN(cmd_vae, "vae", "--models", models, "decode", golden("small/cases/fill_0.safetensors"), "--out", out),
              CLI_FAILED); /* it has no tensor z */
    CHECK(access(out, F_OK) != 0);
}
