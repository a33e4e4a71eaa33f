/* The commands transformer and embed, from their arguments to their files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/file/tensor_file.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "worker/cli/commands.h"
#include "worker/job/prompt_table.h"

enum { MAX_ARGS = 20 };
static const double f32_limit = 1e-5; /* MODEL.md 11.2 */

struct outcome {
    struct arena arena;
    struct tensor_file want, got;
    char out[64];
};

static void outcome_open(struct outcome *o, const char *case_path)
{
    struct err err = { 0 };
    int fd;

    (void)snprintf(o->out, sizeof o->out, "/tmp/cmd-models-XXXXXX");
    CHECK((fd = mkstemp(o->out)) >= 0 && close(fd) == 0);
    CHECK_OK(arena_init(&o->arena, 64 << 20, &err), err);
    CHECK_OK(tensor_file_open(case_path, &o->arena, &o->want, &err), err);
}

/* Runs a command with --out added; if it succeeds, opens the file that it wrote as `got`. */
static int outcome_run(struct outcome *o, int (*cmd)(int, char **), const char *const *args)
{
    char *argv[MAX_ARGS], copy[MAX_ARGS][512], flag[] = "--out";
    struct err err = { 0 };
    int argc = 0, status;

    for (; args[argc] && argc < MAX_ARGS - 2; argc++)
        argv[argc] = strcpy(copy[argc], args[argc]);
    argv[argc++] = flag;
    argv[argc++] = o->out;
    status = cmd(argc, argv);
    if (status == 0)
        CHECK_OK(tensor_file_open(o->out, &o->arena, &o->got, &err), err);
    return status;
}

static void outcome_close(struct outcome *o)
{
    CHECK(unlink(o->out) == 0);
    arena_done(&o->arena);
}

/* The values of an F32 tensor, aligned. */
static const float *values(struct outcome *o, const struct tensor_entry *e)
{
    struct err err = { 0 };
    float *ret = NULL;

    CHECK(e && e->dtype == DT_F32);
    CHECK_OK(arena_alloc(&o->arena, e->bytes, 1, &ret, &err), err);
    memcpy(ret, e->data, e->bytes);
    return ret;
}

static void check_same(struct outcome *o, const char *got_name, const char *want_name)
{
    const struct tensor_entry *got = tensor_file_find(&o->got, span_of(got_name));
    const struct tensor_entry *want = tensor_file_find(&o->want, span_of(want_name));

    CHECK(got && want && got->dtype == want->dtype && got->n_dims == want->n_dims);
    for (int i = 0; i < got->n_dims; i++)
        CHECK_INT(got->dims[i], want->dims[i]);
    if (got->dtype == DT_F32)
        CHECK_REL(values(o, got), values(o, want), want->bytes / sizeof(float), f32_limit);
    else
        CHECK(memcmp(got->data, want->data, want->bytes) == 0);
}

TEST(cmd_transformer__writes_the_official_velocity_and_the_streams_of_every_block)
{
    static const char *const taps[] = { "double_0.img", "double_0.txt", "double_1.img", "double_1.txt",
                                        "single_0.img", "single_0.txt", "single_1.img", "single_1.txt", "velocity" };
    const char *in = golden("small/cases/transformer.safetensors"), *models = golden("small/models");
    struct outcome o;

    outcome_open(&o, in);
    CHECK_INT(outcome_run(&o, cmd_transformer, (const char *[]){ "transformer", "--models", models, "--transformer",
                          "flux1-fill-F32.gguf", "--in", in, "--backend", "cpu", NULL }), 0);
    for (size_t i = 0; i < sizeof taps / sizeof *taps; i++) {
        char want[64];

        /* the golden file has the velocity for every weight file, but the streams for the first only */
        (void)snprintf(want, sizeof want, "%s.F32", taps[i]);
        check_same(&o, taps[i], want);
    }
    CHECK_INT(o.got.n_entries, sizeof taps / sizeof *taps);
    outcome_close(&o);
}

enum { MAX_LORAS = 4 };

/* Runs the network with the LoRAs of a case, "FILE:SCALE,FILE:SCALE", as paths. */
static void run_with_loras(struct outcome *o, const char *files)
{
    char list[256], options[MAX_LORAS][512];
    const char *args[MAX_ARGS] = { "transformer", "--models", golden("small/models"), "--transformer",
                                   "flux1-fill-F32.gguf", "--in", golden("small/cases/transformer.safetensors"),
                                   "--backend", "cpu" };
    int argc = 9, n = 0;

    (void)snprintf(list, sizeof list, "%s", files);
    for (char *item = strtok(list, ","); item; item = strtok(NULL, ",")) {
        char *scale = strchr(item, ':');

        CHECK(scale && n < MAX_LORAS);
        *scale++ = '\0';
        (void)snprintf(options[n], sizeof options[n], "%s:%s", golden("lora/%s", item), scale);
        args[argc++] = "--lora";
        args[argc++] = options[n++];
    }
    CHECK_INT(outcome_run(o, cmd_transformer, args), 0);
}

/* Of each case the golden file has the first tokens, computed by diffusers with the adapters active. */
TEST(cmd_transformer__gives_the_velocity_of_diffusers_with_loras_of_every_style)
{
    static const char *const cases[] = { "peft",  "alphas", "settings", "bias",    "kohya", "mixed",
                                         "xlabs", "comfy",  "bfl",      "by_hand", "two" };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct tensor_entry *got, *want;
        const char *files = NULL;
        struct err err = { 0 };
        struct outcome o;
        char key[64];

        outcome_open(&o, golden("lora/expected.safetensors"));
        (void)snprintf(key, sizeof key, "%s.files", cases[i]);
        CHECK_OK(tensor_file_metadata(&o.want, key, &o.arena, &files, &err), err);
        run_with_loras(&o, files);
        (void)snprintf(key, sizeof key, "%s.velocity", cases[i]);
        got = tensor_file_find(&o.got, SPAN("velocity"));
        want = tensor_file_find(&o.want, span_of(key));
        CHECK(got && want && got->bytes >= want->bytes && got->dims[1] == want->dims[1]);
        CHECK_REL(values(&o, got), values(&o, want), want->bytes / sizeof(float), f32_limit);
        outcome_close(&o);
    }
}

TEST(cmd_embed__writes_the_official_embeddings_and_ids)
{
    const char *models = golden("small/models"), *prompt = NULL, *t5_len = NULL;
    struct err err = { 0 };
    struct outcome o;

    outcome_open(&o, golden("small/cases/text.safetensors"));
    CHECK_OK(tensor_file_metadata(&o.want, "1.prompt", &o.arena, &prompt, &err), err);
    CHECK_OK(tensor_file_metadata(&o.want, "1.t5_len", &o.arena, &t5_len, &err), err);
    CHECK_INT(outcome_run(&o, cmd_embed, (const char *[]){ "embed", "--models", models, "--prompt", prompt, "--t5-len",
                          t5_len, "--backend", "cpu", NULL }), 0);
    check_same(&o, "prompt_embeds", "1.prompt_embeds");
    check_same(&o, "pooled_prompt_embeds", "1.pooled_prompt_embeds");
    check_same(&o, "t5_ids", "1.t5_ids");
    check_same(&o, "clip_ids", "1.clip_ids");
    outcome_close(&o);
}

TEST(cmd_embed__writes_a_pack_of_a_file_of_prompts)
{
    const char *models = golden("small/models"), text[] = " a lawn\r\n\n sand and sky \nlast", *prompt = NULL;
    const char *file = temp_file("prompts.txt", text, sizeof text - 1);
    struct err err = { 0 };
    struct outcome o;

    outcome_open(&o, golden("small/cases/text.safetensors"));
    CHECK_INT(outcome_run(&o, cmd_embed, (const char *[]){ "embed", "--models", models, "--pack", "--prompts", file,
                          "--t5-len", "8", "--sizes", "32x32,48x64", "--steps", "2", "--transformer",
                          "flux1-fill-Q8_0.gguf", NULL }), 0);
    CHECK_INT(o.got.n_entries, 3 * 2 + 2 * 2 + 3 * 2);
    CHECK_OK(tensor_file_metadata(&o.got, "1.prompt", &o.arena, &prompt, &err), err);
    CHECK_STR(prompt, "sand and sky");
    CHECK(tensor_file_find(&o.got, SPAN("2.modulation.1")) && tensor_file_find(&o.got, SPAN("schedule.1.sigmas")));
    CHECK_INT(outcome_run(&o, cmd_embed, (const char *[]){ "embed", "--models", models, "--pack", NULL }), 2);
    CHECK_INT(outcome_run(&o, cmd_embed, (const char *[]){ "embed", "--models", models, "--prompts", file, NULL }), 2);
    CHECK_INT(outcome_run(&o, cmd_embed, (const char *[]){ "embed", "--models", models, "--pack", "--prompt", "a",
                          "--sizes", "32x32,8", NULL }), 1);
    outcome_close(&o);
}

TEST(cmd_embed__writes_a_pack_of_all_that_the_worker_makes_of_labels)
{
    const char *models = golden("small/models"), *prompt = NULL;
    struct err err = { 0 };
    struct outcome o;
    int n = 0;

    outcome_open(&o, golden("small/cases/text.safetensors"));
    CHECK_INT(outcome_run(&o, cmd_embed, (const char *[]){ "embed", "--models", models, "--pack", "--prompts", "builtin",
                          "--t5-len", "8", NULL }), 0);
    for (; prompt_table_at(n); n++) {
        char key[32];

        (void)snprintf(key, sizeof key, "%d.prompt", n);
        CHECK_OK(tensor_file_metadata(&o.got, key, &o.arena, &prompt, &err), err);
        CHECK_STR(prompt, prompt_table_at(n)->prompt);
    }
    CHECK_INT(o.got.n_entries, 2 * n);
    CHECK_INT(outcome_run(&o, cmd_embed, (const char *[]){ "embed", "--models", models, "--prompts", "builtin", NULL }), 2);
    CHECK_INT(outcome_run(&o, cmd_embed, (const char *[]){ "embed", "--models", models, "--pack", "--prompts",
                          "./builtin", NULL }), 1); /* a file, which is not there */
    outcome_close(&o);
}

TEST(cmd_transformer__fails_with_one_line_and_status_1_and_wrong_usage_is_2)
{
    const char *in = golden("small/cases/transformer.safetensors"), *models = golden("small/models");
    struct outcome o;

    outcome_open(&o, in);
    CHECK_INT(outcome_run(&o, cmd_transformer, (const char *[]){ "transformer", "--models", models, "--in",
                          golden("small/cases/text.safetensors"), "--backend", "cpu", NULL }), 1);
    CHECK_INT(outcome_run(&o, cmd_transformer, (const char *[]){ "transformer", "--models", "/nowhere", "--in", in,
                          NULL }), 1);
    CHECK_INT(outcome_run(&o, cmd_transformer, (const char *[]){ "transformer", "--models", models, NULL }), 2);
    CHECK_INT(outcome_run(&o, cmd_embed, (const char *[]){ "embed", "--models", models, "--prompt", "a", "--t5-len",
                          "513", NULL }), 2);
    outcome_close(&o);
}
