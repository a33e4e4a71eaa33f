/* Pictures painted with a pack that this program made, and without it: not one byte may differ. */
#include "models/fill/prompt_pack_make.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/fill/fill.h"
#include "models/fill/fill_model.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/model.h"
#include "test/support/pictures.h"

enum { SIDE = 32, STEPS = 2, T5_LEN = 16 };
static const char *const prompts[] = { "a quiet lawn", "", "sand: \"smooth\"" };
static const struct pack_size sizes[] = { { SIDE, SIDE }, { SIDE, 16 }, { 16, SIDE + 7 } };

static void link_into(const char *dir, const char *from, const char *name)
{
    char to[600], *real = realpath(golden("%s", from), NULL);

    (void)snprintf(to, sizeof to, "%s/%s", dir, name);
    CHECK(real && (access(to, F_OK) == 0 || symlink(real, to) == 0));
    free(real);
}

/* A folder with only transformer and VAE; the text encoders are in the golden set's folder. */
static void make_folder(char dir[512], const char *name, const char *transformer)
{
    char from[128];

    temp_folder(name, dir, 512);
    (void)snprintf(from, sizeof from, "small/models/%s", transformer);
    link_into(dir, from, transformer);
    link_into(dir, "small/models/ae.safetensors", "ae.safetensors");
}

struct painter {
    struct arena a;
    struct backend *be;
    struct fill_model *m;
    struct image picture, mask;
    struct fill_timings timings; /* of the last picture */
    struct fill_notes notes;
};

static void open_painter_with(struct painter *p, const char *dir, const char *transformer, const struct rig_kind *kind,
                              const struct fill_lora *lora)
{
    const struct fill_options o = { .loras = lora, .n_loras = lora != NULL, .transformer = transformer, .max_width = SIDE, .max_height = SIDE + 16,
                                    .max_steps = 4, .max_t5_len = T5_LEN, .notes = &p->notes };
    struct err err = { 0 };

    *p = (struct painter){ 0 };
    CHECK_OK(arena_init(&p->a, (size_t)1 << 30, &err), err);
    CHECK_OK(backend_open(kind->kind, kind->precision, &p->be, &err), err);
    CHECK_OK(fill_model_open(dir, &o, p->be, &p->m, &err), err);
    picture_of_noise(&p->a, SIDE, SIDE, 3, 1, &p->picture);
    picture_of_noise(&p->a, SIDE, SIDE, 1, 2, &p->mask);
}

static void open_painter(struct painter *p, const char *dir, const char *transformer, const struct rig_kind *kind)
{
    open_painter_with(p, dir, transformer, kind, NULL);
}

static void close_painter(struct painter *p)
{
    fill_model_close(p->m);
    backend_close(p->be);
    arena_done(&p->a);
}

static struct image paint(struct painter *p, const char *prompt, int width, int height, int steps)
{
    const struct fill_request r = { FILL_REQUEST_DEFAULTS, .picture = &p->picture, .mask = &p->mask, .prompt = prompt,
                                    .width = width, .height = height, .seed = 7 };
    struct fill_request mine = r;
    struct image got = { 0 };
    struct err err = { 0 };

    mine.steps = steps;
    mine.t5_len = T5_LEN;
    mine.timings = &p->timings;
    CHECK_OK(fill_run(p->m, &mine, &p->a, &got, &err), err);
    return got;
}

static void write_pack(const char *dir, const char *transformer, const struct rig_kind *kind, int n_prompts,
                       int n_sizes)
{
    const struct pack_options o = { .dir = golden("small/models"), .transformer = transformer, .prompts = prompts,
                                    .n_prompts = n_prompts, .t5_len = T5_LEN, .sizes = sizes, .n_sizes = n_sizes,
                                    .steps = STEPS, .guidance = 30 };
    struct backend *be = NULL;
    struct err err = { 0 };
    char path[600];

    (void)snprintf(path, sizeof path, "%s/prompts.safetensors", dir);
    CHECK_OK(backend_open(kind->kind, kind->precision, &be, &err), err);
    CHECK_OK(prompt_pack_make(&o, be, path, &err), err);
    backend_close(be);
}

static void check_same(struct painter *whole, struct painter *packed, const char *prompt, int w, int h, int steps)
{
    struct image want = paint(whole, prompt, w, h, steps), got = paint(packed, prompt, w, h, steps);

    CHECK(!whole->timings.rereads_modulation);
    CHECK(got.width == want.width && got.height == want.height);
    CHECK(memcmp(got.pixels, want.pixels, image_bytes(&want)) == 0);
}

/*
 * Paints sizes, steps and prompts that the pack covers, and others, both with encoders and weights and with the pack.
 */
static void check_pack(const char *transformer, const struct rig_kind *kind, bool all)
{
    struct painter whole, packed;
    char dir[512], name[64];

    (void)snprintf(name, sizeof name, "pack-%d-%d", (int)(kind - rig_kinds), all);
    make_folder(dir, name, transformer);
    write_pack(dir, transformer, kind, all ? 3 : 1, all ? 3 : 1);
    open_painter(&whole, golden("small/models"), transformer, kind);
    open_painter(&packed, dir, transformer, kind);
    CHECK(packed.m->has_pack && !packed.m->has_encoders && packed.m->flux.modulation_in_file);
    CHECK_INT(packed.m->pack.n_schedules, all ? 2 : 1); /* 32 x 16 and 16 x 32 have the same number of tokens */
    CHECK(!whole.m->flux.modulation_in_file);
    check_same(&whole, &packed, prompts[0], SIDE, SIDE, STEPS);
    CHECK(!packed.timings.rereads_modulation);
    if (all) {
        check_same(&whole, &packed, prompts[1], 16, SIDE, STEPS);
        CHECK(!packed.timings.rereads_modulation);
        check_same(&whole, &packed, prompts[2], 48, 16, STEPS);
        CHECK(packed.timings.rereads_modulation);
        check_same(&whole, &packed, prompts[2], SIDE, SIDE, STEPS - 1);
        CHECK(packed.timings.rereads_modulation);
    }
    close_painter(&packed);
    close_painter(&whole);
}

TEST(prompt_pack_make__paints_the_same_bytes_as_the_encoders_and_the_weights)
{
    check_pack("flux1-fill-Q8_0.gguf", &rig_kinds[1], true);
    check_pack("flux1-fill-F32.gguf", &rig_kinds[3], true);
}

TEST(prompt_pack_make__paints_the_same_bytes_with_the_plain_operations)
{
    check_pack("flux1-fill-Q8_0.gguf", &rig_kinds[0], false);
    check_pack("flux1-fill-F32.gguf", &rig_kinds[2], false);
}

/* Spoils the weights that a request covered by the pack must not need. */
TEST(prompt_pack_make__a_covered_request_reads_no_modulation_weights)
{
    struct painter packed;
    struct image want;
    char dir[512];
    int n = 0;

    make_folder(dir, "unread", "flux1-fill-F32.gguf");
    write_pack(dir, "flux1-fill-F32.gguf", &rig_kinds[0], 1, 1);
    open_painter(&packed, dir, "flux1-fill-F32.gguf", &rig_kinds[0]);
    want = paint(&packed, prompts[0], SIDE, SIDE, STEPS);
    for (int i = 0; i < packed.m->flux.config.n_double; i++, n++)
        packed.m->flux.double_blocks[i].img.mod.w.data = NULL;
    packed.m->flux.final_mod.w.data = packed.m->flux.time_in.in_layer.w.data = NULL;
    CHECK(n > 0);
    CHECK(memcmp(paint(&packed, prompts[0], SIDE, SIDE, STEPS).pixels, want.pixels, image_bytes(&want)) == 0);
    close_painter(&packed);
}

TEST(prompt_pack_make__tables_of_another_transformer_are_not_used)
{
    struct painter whole, packed;
    char dir[512];

    make_folder(dir, "other", "flux1-fill-Q8_0.gguf");
    write_pack(dir, "flux1-fill-F32.gguf", &rig_kinds[1], 1, 1);
    open_painter(&whole, golden("small/models"), "flux1-fill-Q8_0.gguf", &rig_kinds[1]);
    open_painter(&packed, dir, "flux1-fill-Q8_0.gguf", &rig_kinds[1]);
    CHECK(packed.m->pack.n_schedules == 0 && !packed.m->flux.modulation_in_file);
    CHECK(packed.notes.n == 1 && strstr(packed.notes.text[0], "made with another transformer"));
    check_same(&whole, &packed, prompts[0], SIDE, SIDE, STEPS);
    close_painter(&packed);
    close_painter(&whole);
}

TEST(prompt_pack_make__tables_serve_with_loras_that_leave_their_layers_alone)
{
    static const char *const loras[] = { "lora/xlabs.safetensors", "lora/alphas.safetensors" };

    for (int changed = 0; changed < 2; changed++) {
        const struct fill_lora lora = { golden("%s", loras[changed]), 0.5 };
        struct painter whole, packed;
        char dir[512];

        make_folder(dir, changed ? "changed" : "unchanged", "flux1-fill-F32.gguf");
        write_pack(dir, "flux1-fill-F32.gguf", &rig_kinds[1], 1, 1);
        open_painter_with(&whole, golden("small/models"), "flux1-fill-F32.gguf", &rig_kinds[1], &lora);
        open_painter_with(&packed, dir, "flux1-fill-F32.gguf", &rig_kinds[1], &lora);
        CHECK_INT(packed.m->pack.n_schedules, !changed);
        CHECK_INT(packed.notes.n, changed);
        CHECK(!changed || strstr(packed.notes.text[0], "the LoRAs change the layers that they were made of"));
        check_same(&whole, &packed, prompts[0], SIDE, SIDE, STEPS);
        close_painter(&packed);
        close_painter(&whole);
    }
}

/* The digest that says whose tables these are is damaged itself: they are not used, and that is said. */
TEST(prompt_pack_make__tables_with_a_damaged_digest_are_not_used)
{
    static const char key[] = "\"transformer\":\"";
    struct painter whole, packed;
    char dir[512], path[600], head[65536], *digest;
    ssize_t n;
    int fd;

    make_folder(dir, "digest", "flux1-fill-Q8_0.gguf");
    write_pack(dir, "flux1-fill-Q8_0.gguf", &rig_kinds[1], 1, 1);
    open_painter(&packed, dir, "flux1-fill-Q8_0.gguf", &rig_kinds[1]);
    CHECK(packed.m->pack.n_schedules == 1 && packed.notes.n == 0);
    close_painter(&packed);
    (void)snprintf(path, sizeof path, "%s/prompts.safetensors", dir);
    fd = open(path, O_RDWR);
    n = pread(fd, head, sizeof head, 0);
    digest = n > 0 ? memmem(head, (size_t)n, key, sizeof key - 1) : NULL;
    CHECK(digest);
    digest += sizeof key - 1;
    *digest = *digest == '1' ? '2' : '1';
    CHECK(pwrite(fd, digest, 1, digest - head) == 1 && close(fd) == 0);
    open_painter(&whole, golden("small/models"), "flux1-fill-Q8_0.gguf", &rig_kinds[1]);
    open_painter(&packed, dir, "flux1-fill-Q8_0.gguf", &rig_kinds[1]);
    CHECK(packed.m->pack.n_schedules == 0 && packed.notes.n == 1);
    check_same(&whole, &packed, prompts[0], SIDE, SIDE, STEPS);
    close_painter(&packed);
    close_painter(&whole);
}

TEST(prompt_pack_make__refuses_options_outside_the_limits)
{
    const struct pack_options good = { .dir = golden("small/models"), .prompts = prompts, .n_prompts = 1,
                                       .t5_len = 16, .sizes = sizes, .n_sizes = 1, .steps = 2, .guidance = 30 };
    const char *bad_prompt = "\xff", *path = temp_path("refused.safetensors");
    struct backend *be = NULL;
    struct err err = { 0 };
    struct pack_options o;

    CHECK_OK(backend_open(BACKEND_PLAIN, PRECISION_F32, &be, &err), err);
    o = good, o.n_prompts = 0;
    CHECK_INT(prompt_pack_make(&o, be, path, NULL), ERR_INVALID);
    o = good, o.t5_len = T5_MAX_TOKENS + 1;
    CHECK_INT(prompt_pack_make(&o, be, path, NULL), ERR_INVALID);
    o = good, o.steps = 0;
    CHECK_INT(prompt_pack_make(&o, be, path, NULL), ERR_INVALID);
    o = good, o.dir = "/nowhere";
    CHECK_INT(prompt_pack_make(&o, be, path, NULL), ERR_NOT_FOUND);
    o = good, o.prompts = &bad_prompt;
    CHECK(prompt_pack_make(&o, be, path, NULL) != ERR_OK);
    CHECK(access(path, F_OK) != 0);
    backend_close(be);
}
