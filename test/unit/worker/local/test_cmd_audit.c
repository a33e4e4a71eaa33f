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
#define LORA(name) golden("lora/" name ".safetensors")
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
    CHECK(strstr(said.errors, "--transformers: ") && strstr(said.errors, "there is no transformer 'absent.gguf'") && !strstr(said.errors, "load"));
    CHECK_INT(AUDIT(Q8, "--loras", "none,absent"), 1);
    CHECK(strstr(said.errors, "--loras: there is no LoRA 'absent' in ") && !strstr(said.errors, "load"));
    CHECK_INT(AUDIT(Q8, "--loras", LORA("expected")), 1); /* tensors, and no LoRA */
    CHECK(strstr(said.errors, "audit: --loras: ") && strstr(said.errors, "expected.safetensors") && !strstr(said.errors, "load"));
    CHECK_INT(AUDIT(Q8, "--mask", golden("small/cases/fill_0.expected.png"), "--mask", "/no/such/mask"), 1);
    CHECK(strstr(said.errors, "/no/such/mask") && !strstr(said.errors, "load"));
    CHECK_INT(AUDIT(Q8, "--out", "/no/such/folder/audit"), 1);
    CHECK(strstr(said.errors, "cannot make the folder '/no/such/folder/audit': ") && !strstr(said.errors, "load"));
    CHECK_INT(outputs_of(cmd_audit, (const char *const[]){ "audit", "--image", "x", "--mask", "y", NULL }, &said), 2);
    CHECK(strstr(said.errors, "--out is required"));
    arena_done(&arena);
}

/* -> the audit's cells, each with the photo that came out. */
static const struct json *cells_of_loras(const char *loras)
{
    CHECK_INT(AUDIT(Q8, "--loras", loras, "--guidance", "2", "--steps", "1"), 0);
    return json_get(read_json("audit/audit.json"), "cells");
}

static const char *list_of(const struct json *cells, int i)
{
    return json_text(json_get(json_get(json_at(cells, i), "engine"), "loras"));
}

static struct span edited_of(const struct json *cells, int i)
{
    char name[300];

    (void)snprintf(name, sizeof name, "audit/%s/edited.jpg", json_text(json_get(json_at(cells, i), "folder")));
    return file_bytes(&arena, temp_path(name));
}

TEST(cmd_audit__tries_sets_of_loras_each_loaded_once)
{
    const struct json *cells;
    char loras[1000];
    const char *page;

    open_folder();
    (void)snprintf(loras, sizeof loras, "none,%s:2+%s:-1.5,%s:2", LORA("peft"), LORA("kohya"), LORA("peft"));
    cells = cells_of_loras(loras);
    CHECK_INT(json_count(cells), 3);
    CHECK(strstr(said.errors, "cell 1 of 3: flux1-fill-Q8_0.gguf, guidance 2, 1 steps, seed 1\n"));
    CHECK(strstr(said.errors, "cell 2 of 3: flux1-fill-Q8_0.gguf with peft.safetensors:2,kohya.safetensors:-1.5, guidance 2, 1 steps, seed 1\n"));
    CHECK_STR(list_of(cells, 0), "");
    CHECK_STR(list_of(cells, 1), "peft.safetensors:2,kohya.safetensors:-1.5");
    CHECK_STR(list_of(cells, 2), "peft.safetensors:2");
    CHECK(strstr(json_text(json_get(json_get(json_get(json_at(cells, 2), "inpaint"), "recipe"), "loras")), "peft.safetensors:2 ("));
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < i; k++)
            CHECK(!span_eq(edited_of(cells, i), edited_of(cells, k)));
    page = file_bytes(&arena, temp_path("audit/index.html")).ptr;
    CHECK(strstr(page, ">LoRAs</button>") && strstr(page, ">none</td>") && strstr(page, ">peft.safetensors:2,kohya.safetensors:-1.5</td>"));
    (void)cells_of_loras(strrchr(loras, ',') + 1);
    CHECK(strstr(said.out, "1 cells, 0 of them new\n"));
    arena_done(&arena);
}

/* The folder of a cell is that of its set's name; what lies there counts only where the file's values are the same. */
TEST(cmd_audit__runs_a_cell_again_where_the_lora_has_other_values)
{
    char folder_of_loras[300], lora[340];

    open_folder();
    temp_folder("audit-loras", folder_of_loras, sizeof folder_of_loras);
    (void)snprintf(lora, sizeof lora, "%s/one.safetensors", folder_of_loras);
    for (int i = 0; i < 3; i++) {
        const struct span bytes = file_bytes(&arena, i == 2 ? LORA("kohya") : LORA("peft"));

        (void)temp_file("audit-loras/one.safetensors", bytes.ptr, bytes.len);
        (void)cells_of_loras(lora);
        CHECK(strstr(said.out, i == 1 ? "1 cells, 0 of them new\n" : "1 cells, 1 of them new\n"));
    }
    arena_done(&arena);
}

/* LORAS is one set; --loras wins over it. */
TEST(cmd_audit__takes_the_setting_as_its_only_set)
{
    char setting[700];

    open_folder();
    (void)snprintf(setting, sizeof setting, "%s:2,%s", LORA("peft"), LORA("kohya"));
    CHECK(setenv("LORAS", setting, 1) == 0);
    CHECK_INT(AUDIT(Q8, "--guidance", "2", "--steps", "1"), 0);
    CHECK_STR(list_of(json_get(read_json("audit/audit.json"), "cells"), 0), "peft.safetensors:2,kohya.safetensors:1");
    CHECK_INT(AUDIT(Q8, "--guidance", "2", "--steps", "1", "--loras", "none"), 0);
    CHECK_STR(list_of(json_get(read_json("audit/audit.json"), "cells"), 0), "");
    CHECK(setenv("LORAS", "absent", 1) == 0);
    CHECK_INT(AUDIT(Q8, "--guidance", "2", "--steps", "1"), 1);
    CHECK(strstr(said.errors, "audit: LORAS: there is no LoRA 'absent' in "));
    CHECK(unsetenv("LORAS") == 0);
    arena_done(&arena);
}

/* A record has names of files alone: a LoRA that was given by its path is named again. */
TEST(cmd_audit__a_cell_with_loras_can_be_replayed)
{
    const struct json *cells;
    char loras[700], record[300];

    open_folder();
    (void)snprintf(loras, sizeof loras, "%s:0.7+%s", LORA("peft"), LORA("kohya"));
    cells = cells_of_loras(loras);
    (void)snprintf(record, sizeof record, "audit/%s/record.json", json_text(json_get(json_at(cells, 0), "folder")));
#define REPLAY(...)                                                                                                     \
    outputs_of(cmd_replay, (const char *const[]){ "replay", temp_path(record), "--dir", folder, "--models",                 \
                                                  golden("small/models"), __VA_ARGS__, NULL }, &said)
    CHECK_INT(REPLAY(NULL), 1);
    CHECK(strstr(said.errors, "there is no LoRA 'peft.safetensors' in ") && strstr(said.errors, "give its path"));
    CHECK_INT(REPLAY("--lora", LORA("peft")), 1);
    CHECK(strstr(said.errors, "--lora is given 1 times, and the record was made with 2 LoRAs, peft.safetensors:0.7,kohya.safetensors:1: "));
    CHECK_INT(REPLAY("--lora", LORA("kohya"), "--lora", LORA("peft")), 1);
    CHECK(strstr(said.errors, "the LoRAs are other files than the record's peft.safetensors:0.7,kohya.safetensors:1, or in another order"));
    CHECK_INT(REPLAY("--lora", "peft.safetensors:1.5", "--lora", LORA("kohya")), 1);
    CHECK(strstr(said.errors, "--lora: peft.safetensors is given with the scale 1.5, and the record says 0.7"));
    CHECK_INT(REPLAY("--lora", loras, "--lora", "a,b"), 1);
    CHECK(strstr(said.errors, "--lora: 'a,b' are several files"));
    CHECK_INT(REPLAY("--lora", LORA("peft"), "--lora", LORA("kohya")), 0);
    CHECK(strstr(said.out, "the same bytes as the record's\n"));
#undef REPLAY
    arena_done(&arena);
}
