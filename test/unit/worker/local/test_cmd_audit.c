/* `audit`: a small grid on the small model, what it leaves behind, and how it goes on. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/outputs.h"
#include "test/support/pictures.h"
#include "worker/base/json.h"
#include "worker/cli/commands.h"

static char folder[300];
static struct outputs_text said;
static struct arena arena;

#define AUDIT(...)                                                                                                   \
    outputs_of(cmd_audit, (const char *const[]){ "audit", "--image", golden("small/cases/fill_0.image.png"), "--mask",     \
                                          golden("small/cases/fill_0.mask.png"), "--models", golden("small/models"), "--out", \
                                          folder, "--backend", "cpu", __VA_ARGS__, NULL }, &said)
#define Q8   "--transformers", "flux1-fill-Q8_0.gguf"
#define CELL "audit/cells/flux1-fill-Q8_0.gguf-g2-s1-n1/"

static void open_folder(void)
{
    struct err err = { 0 };

    arena_done(&arena);
    CHECK_OK(arena_init(&arena, 256 << 20, &err), err);
    temp_folder("audit", folder, sizeof folder);
    (void)unlink(temp_path(CELL "record.json"));
}

static const struct json *read_json(const char *name)
{
    const struct json *v = NULL;
    struct err err = { 0 };

    CHECK_OK(json_parse(&arena, file_bytes(&arena, temp_path(name)), 20, &v, &err), err);
    return v;
}

TEST(cmd_audit__runs_the_grid_and_shows_it)
{
    const struct json *audit, *cells, *cell;
    int64_t n = 0;
    double x = 0;

    open_folder();
    CHECK_INT(AUDIT("--transformers", "flux1-fill-Q8_0.gguf,flux1-fill-F32.gguf", "--guidance", "2,30", "--steps", "1", "--seeds", "1"), 0);
    CHECK(strstr(said.out, "index.html, ") && strstr(said.out, "4 cells, 4 of them new\n"));
    CHECK(strstr(said.errors, "cell 4 of 4: flux1-fill-F32.gguf, guidance 30, 1 steps, seed 1\n"));
    audit = read_json("audit/audit.json");
    cells = json_get(audit, "cells");
    CHECK_INT(json_count(cells), 4);
    CHECK_STR(json_text(json_get(json_get(audit, "photo"), "name")), "fill_0.image.png");
    CHECK_STR(json_text(json_get(json_get(json_at(cells, 3), "engine"), "model")), "flux1-fill-F32.gguf");
    cell = read_json(CELL "record.json");
    CHECK(json_number(json_get(cell, "seconds"), &x) && x >= 0);
    CHECK(json_integer(json_get(cell, "changedPixels"), &n) && n > 0);
    CHECK(json_integer(json_get(json_get(json_get(cell, "inpaint"), "recipe"), "steps"), &n) && n == 1);
    for (const struct json *v = json_first(cells); v; v = json_next(v)) {
        char link[200];

        (void)snprintf(link, sizeof link, "src=\"%s\"",
                       json_text(json_get(json_at(json_get(v, "pictures"), 0), "difference")));
        CHECK(strstr(file_bytes(&arena, temp_path("audit/index.html")).ptr, link));
    }
    arena_done(&arena);
}

/* As `serve` and `edit` do. */
TEST(cmd_audit__merges_loras_of_the_options_or_the_settings)
{
    static char setting[400];
    const char *loras;

    (void)snprintf(setting, sizeof setting, "%s:0.5", golden("lora/alphas.safetensors"));
    for (int options = 0; options < 2; options++) {
        open_folder();
        CHECK(setenv("LORAS", options ? "no-such-file" : setting, 1) == 0);
        CHECK_INT(options ? AUDIT(Q8, "--guidance", "2", "--steps", "1", "--lora", setting)
                          : AUDIT(Q8, "--guidance", "2", "--steps", "1"), 0);
        CHECK(unsetenv("LORAS") == 0);
        loras = json_text(json_get(json_get(read_json(CELL "record.json"), "engine"), "loras"));
        CHECK_STR(loras, "alphas.safetensors:0.5");
        CHECK(strstr(file_bytes(&arena, temp_path("audit/index.html")).ptr, "flux1-fill-Q8_0.gguf with alphas.safetensors:0.5<"));
    }
    open_folder();
    CHECK_INT(AUDIT(Q8, "--guidance", "2", "--steps", "1", "--lora", "no-such-file"), 1);
    CHECK(strstr(said.errors, "there is no LoRA 'no-such-file' in "));
    arena_done(&arena);
}

static bool is_marked_near(const struct image *mask, int x, int y, int radius)
{
    for (int v = y - radius; v <= y + radius; v++)
        for (int u = x - radius; u <= x + radius; u++)
            if (u >= 0 && v >= 0 && u < mask->width && v < mask->height && mask->pixels[v * mask->width + u] > 127)
                return true;
    return false;
}

/* Both sides are compared before they are encoded, so that the difference is black where nothing was painted. */
TEST(cmd_audit__shows_no_difference_where_nothing_was_painted)
{
    enum { RADIUS = 12 /* pixels; a small photo's mask grows by 8 */ };
    struct image mask, difference;
    int painted = 0, far = 0;

    open_folder();
    CHECK_INT(AUDIT(Q8, "--guidance", "2", "--steps", "1"), 0);
    picture_from_png(&arena, golden("small/cases/fill_0.mask.png"), &mask);
    picture_from_png(&arena, temp_path(CELL "difference-0.png"), &difference);
    CHECK(mask.channels == 1 && difference.width == mask.width && difference.height == mask.height); /* it is one crop */
    for (int y = 0; y < mask.height; y++)
        for (int x = 0; x < mask.width; x++) {
            const uint8_t *at = difference.pixels + 3 * (y * mask.width + x);
            bool is_black = !at[0] && !at[1] && !at[2];

            painted += !is_black;
            far += !is_marked_near(&mask, x, y, RADIUS);
            CHECK(is_black || is_marked_near(&mask, x, y, RADIUS));
        }
    CHECK(painted > 100 && far > 100);
    arena_done(&arena);
}

TEST(cmd_audit__goes_on_where_it_was_and_runs_again_what_is_not_the_same)
{
    open_folder();
    CHECK_INT(AUDIT(Q8, "--guidance", "2", "--steps", "1"), 0);
    CHECK_INT(AUDIT(Q8, "--guidance", "2,5", "--steps", "1"), 0);
    CHECK(strstr(said.out, "2 cells, 1 of them new\n") && strstr(said.errors, "guidance 2, 1 steps, seed 1: is there already\n"));
    CHECK_INT(unlink(temp_path(CELL "after-0.jpg")), 0);
    CHECK_INT(AUDIT(Q8, "--guidance", "2", "--steps", "1"), 0);
    CHECK(strstr(said.out, "1 cells, 1 of them new\n"));
    CHECK_INT(AUDIT(Q8, "--guidance", "2", "--steps", "1", "--prompt", "a lawn"), 0);
    CHECK(strstr(said.out, "1 cells, 1 of them new\n"));
    (void)temp_file(CELL "record.json", "{\"record\":1", 11); /* cut off */
    CHECK_INT(AUDIT(Q8, "--guidance", "2", "--steps", "1", "--prompt", "a lawn"), 0);
    CHECK(strstr(said.out, "1 cells, 1 of them new\n") && file_bytes(&arena, temp_path(CELL "record.json")).len > 500);
    CHECK(strstr(file_bytes(&arena, temp_path("audit/index.html")).ptr, "Prompt: a lawn<br>"));
    arena_done(&arena);
}

/* Each cell is a record of `replay`, and the audit's folder has its inputs. */
TEST(cmd_audit__a_cell_can_be_replayed)
{
    struct span x, y;

    open_folder();
    CHECK_INT(AUDIT(Q8, "--guidance", "2", "--steps", "1"), 0);
    CHECK_INT(outputs_of(cmd_replay, (const char *const[]){ "replay", temp_path(CELL "record.json"), "--dir", folder, "--models",
                                                     golden("small/models"), NULL }, &said), 0);
    x = file_bytes(&arena, temp_path(CELL "edited.jpg"));
    y = file_bytes(&arena, temp_path("audit/edited.jpg"));
    CHECK(x.len && span_eq(x, y));
    arena_done(&arena);
}

TEST(cmd_audit__ends_orderly_at_a_signal)
{
    sigset_t interrupt, before;

    open_folder();
    CHECK(sigemptyset(&interrupt) == 0 && sigaddset(&interrupt, SIGINT) == 0);
    CHECK(pthread_sigmask(SIG_BLOCK, &interrupt, &before) == 0);
    CHECK(kill(getpid(), SIGINT) == 0); /* is pending when the audit begins */
    CHECK_INT(AUDIT(Q8, "--guidance", "2", "--steps", "1"), 1);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    CHECK(strstr(said.errors, "ends after this cell") && strstr(said.errors, "stopped with 0 of 1 cells; the same command goes on from there\n"));
    CHECK(strstr(file_bytes(&arena, temp_path("audit/index.html")).ptr, "Cells: 0 of 1"));
    CHECK_INT(AUDIT(Q8, "--guidance", "2", "--steps", "1"), 0);
    arena_done(&arena);
}

TEST(cmd_audit__says_what_is_wrong_before_a_model_is_loaded)
{
    open_folder();
    CHECK_INT(AUDIT(Q8, "--guidance", "2,x"), 1);
    CHECK(strstr(said.errors, "--guidance: 'x' is not a number from 0 to 1000"));
    CHECK_INT(AUDIT("--transformers", "flux1-fill-Q8_0.gguf,absent.gguf"), 1);
    CHECK(strstr(said.errors, "--transformers: '") && strstr(said.errors, "absent.gguf': No such file") && !strstr(said.errors, "load"));
    CHECK_INT(AUDIT(Q8, "--mask", golden("small/cases/fill_0.expected.png"), "--mask", "/no/such/mask"), 1);
    CHECK(strstr(said.errors, "/no/such/mask") && !strstr(said.errors, "load"));
    CHECK_INT(AUDIT(Q8, "--out", "/no/such/folder/audit"), 1);
    CHECK(strstr(said.errors, "cannot make the folder '/no/such/folder/audit': ") && !strstr(said.errors, "load"));
    CHECK_INT(outputs_of(cmd_audit, (const char *const[]){ "audit", "--image", "x", "--mask", "y", NULL }, &said), 2);
    CHECK(strstr(said.errors, "--out is required"));
    arena_done(&arena);
}
