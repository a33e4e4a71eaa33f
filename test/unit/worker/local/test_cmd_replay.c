/* `edit --record` and `replay`: the same bytes, and what is said where they cannot be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/outputs.h"
#include "test/support/pictures.h"
#include "worker/cli/commands.h"

static char here[300], there[300];
static struct outputs_text said;
static struct arena arena;

#define RUN(cmd, ...) outputs_of(cmd_##cmd, (const char *const[]){ #cmd, __VA_ARGS__, NULL }, &said)

static const char *path_in(const char *folder, const char *name)
{
    char *ret = NULL;

    CHECK(!arena_printf(&arena, &ret, NULL, "%s/%s", folder, name));
    return ret;
}

/* temp_path() and golden() forget a path after some more. */
static const char *keep(const char *path)
{
    char *ret = NULL;

    CHECK(!arena_printf(&arena, &ret, NULL, "%s", path));
    return ret;
}

static void copy(const char *to, const char *from)
{
    struct span bytes = file_bytes(&arena, from);

    (void)temp_file(to, bytes.ptr, bytes.len);
}

/* Two folders with the same inputs. */
static void open_folders(void)
{
    struct err err = { 0 };

    arena_done(&arena);
    CHECK_OK(arena_init(&arena, 256 << 20, &err), err);
    temp_folder("here", here, sizeof here);
    temp_folder("there", there, sizeof there);
    copy("here/original.jpg", golden("small/cases/fill_0.image.png"));
    copy("here/mask_auto.png", golden("small/cases/fill_0.mask.png"));
    copy("there/original.jpg", golden("small/cases/fill_0.image.png"));
    copy("there/mask_auto.png", golden("small/cases/fill_0.mask.png"));
}

static void check_same_results(void)
{
    static const char *const names[] = { "edited.jpg", "preview.jpg" };

    for (int i = 0; i < 2; i++) {
        struct span x = file_bytes(&arena, path_in(here, names[i]));
        struct span y = file_bytes(&arena, path_in(there, names[i]));

        CHECK(x.len && span_eq(x, y));
    }
}

/* Writes the record again, with its first `from` made `to`. */
static const char *changed(const char *from, const char *to)
{
    const char *record = file_bytes(&arena, temp_path("record.json")).ptr, *at = strstr(record, from);
    char *ret = NULL;

    CHECK(at);
    CHECK(!arena_printf(&arena, &ret, NULL, "%.*s%s%s", (int)(at - record), record, to, at + strlen(from)));
    return temp_file("changed.json", ret, strlen(ret));
}

TEST(cmd_replay__comes_to_the_same_bytes_without_a_model)
{
    static const char *const paints[] = { "identity", "solid:102030", NULL };

    for (int i = 0; i < 3; i++) {
        const char *record, *paint;

        open_folders();
        record = keep(temp_path("record.json"));
        paint = keep(paints[i] ? paints[i] : golden("small/cases/fill_0.image.png"));
        CHECK_INT(RUN(edit, here, "--paint", paint, "--record", record, "--seed", "18446744073709551615"), 0);
        CHECK(strstr(said.out, "wrote ") && strstr(said.out, "record.json, "));
        if (paints[i])
            CHECK_INT(RUN(replay, record, "--dir", there), 0);
        else
            CHECK_INT(RUN(replay, record, "--dir", there, "--paint", paint), 0);
        CHECK(strstr(said.out, "the same bytes as the record's\n"));
        CHECK_STR(said.errors, "");
        check_same_results();
        if (paints[i])
            continue;
        CHECK_INT(RUN(replay, record, "--dir", there), 1);
        CHECK(strstr(said.errors, "name it with --paint FILE"));
        CHECK_INT(RUN(replay, record, "--dir", there, "--paint", "identity"), 1);
        CHECK_INT(RUN(replay, record, "--dir", there, "--paint", golden("small/cases/fill_0.mask.png")), 1);
        CHECK(strstr(said.errors, "fill_0.mask.png is another file than the record's: "));
    }
}

/* Settings of the environment do not count. */
TEST(cmd_replay__comes_to_the_same_bytes_with_the_model_whatever_the_settings_are)
{
    const char *record, *models;

    open_folders();
    record = keep(temp_path("record.json"));
    models = keep(golden("small/models"));
    CHECK_INT(RUN(edit, here, "--models", models, "--transformer", "flux1-fill-Q8_0.gguf", "--steps", "2", "--guidance", "3.3", "--backend",
                  "cpu", "--record", record), 0);
    CHECK(setenv("STEPS", "5", 1) == 0 && setenv("GEOMETRY", "full", 1) == 0 && setenv("MASK_FEATHER", "9", 1) == 0);
    CHECK_INT(RUN(replay, record, "--dir", there, "--models", models), 0);
    CHECK(unsetenv("STEPS") == 0 && unsetenv("GEOMETRY") == 0 && unsetenv("MASK_FEATHER") == 0);
    CHECK(strstr(said.out, "the same bytes as the record's\n") && strstr(said.errors, "denoise: 2 steps in ") && !strstr(said.errors, "warning"));
    check_same_results();
    CHECK_INT(RUN(replay, changed("\"kernels\":\"", "\"kernels\":\"other "), "--dir", there, "--models", models), 0);
    CHECK(strstr(said.errors, "warning: the record was made with other kernels or on another processor"));
}

TEST(cmd_replay__says_what_is_not_the_records)
{
    const char *record;

    open_folders();
    record = keep(temp_path("record.json"));
    CHECK_INT(RUN(edit, here, "--paint", "identity", "--record", record), 0);
    CHECK_INT(RUN(replay, changed("\"version\":\"", "\"version\":\"0.0.7-"), "--dir", there), 0);
    CHECK(strstr(said.errors, "warning: the record was made by version 0.0.7-") && strstr(said.errors, "the bytes may be others"));
    CHECK_INT(RUN(replay, changed("\"edited.jpg\":{\"bytes\":", "\"edited.jpg\":{\"bytes\":1"), "--dir", there), 1);
    CHECK(strstr(said.errors, "replay: edited.jpg has other bytes than the record says\n"));
    CHECK_INT(RUN(replay, record, "--dir", there, "--paint", "x.png"), 1);
    CHECK(strstr(said.errors, "made without a file to paint"));
    copy("there/mask_auto.png", golden("small/cases/fill_1.mask.png"));
    CHECK_INT(RUN(replay, record, "--dir", there), 1);
    CHECK(strstr(said.errors, "mask_auto.png is another file than the record's: "));
    copy("there/original.jpg", golden("small/cases/fill_1.image.png"));
    CHECK_INT(RUN(replay, record, "--dir", there), 1);
    CHECK(strstr(said.errors, "original.jpg is another file than the record's: "));
    CHECK_INT(RUN(replay, temp_path("here/edited.jpg"), "--dir", there), 1);
    CHECK(strstr(said.errors, "edited.jpg: "));
    CHECK_INT(RUN(replay, record, "--dir", "/no/such/folder"), 1);
    CHECK(strstr(said.errors, "there is no folder '/no/such/folder'"));
    CHECK_INT(RUN(replay, record, "--models", "m"), 2);
}

TEST(cmd_replay__refuses_other_weights_under_the_same_name)
{
    const char *record, *models;
    static const char *const links[][2] = { { "flux1-fill-F16.gguf", "flux1-fill-Q8_0.gguf" }, { "ae.safetensors", "ae.safetensors" },
                                            { "text_encoder", "text_encoder" }, { "text_encoder_2", "text_encoder_2" },
                                            { "tokenizer", "tokenizer" }, { "tokenizer_2", "tokenizer_2" } };
    char folder[300];

    open_folders();
    record = keep(temp_path("record.json"));
    models = keep(golden("small/models"));
    temp_folder("other-models", folder, sizeof folder);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        const char *to = path_in(folder, links[i][1]);
        char *real = realpath(path_in(models, links[i][0]), NULL);

        (void)unlink(to);
        CHECK(real && symlink(real, to) == 0);
        free(real);
    }
    CHECK_INT(RUN(edit, here, "--models", models, "--transformer", "flux1-fill-Q8_0.gguf", "--steps", "1", "--backend", "cpu", "--record",
                  record), 0);
    CHECK_INT(RUN(replay, record, "--dir", there, "--models", folder), 1);
    CHECK(strstr(said.errors, "holds other weights than the record's"));
    CHECK_INT(RUN(replay, changed("\"backend\":\"cpu\"", "\"backend\":\"abacus\""), "--dir", there, "--models", models), 1);
    CHECK(strstr(said.errors, "this program has no backend 'abacus'"));
    CHECK_INT(RUN(replay, record, "--dir", there, "--models", "/no/such/models"), 1);
}

/* A record has the name of the transformer's file and no folder: one from elsewhere is named again. */
TEST(cmd_replay__takes_a_transformer_that_lies_elsewhere)
{
    const char *record, *models, *elsewhere;
    char folder[300];
    struct span q8;

    open_folders();
    q8 = file_bytes(&arena, golden("small/models/flux1-fill-Q8_0.gguf"));
    record = keep(temp_path("record.json"));
    models = keep(golden("small/models"));
    temp_folder("elsewhere", folder, sizeof folder);
    elsewhere = keep(temp_file("elsewhere/mine.gguf", q8.ptr, q8.len));
    CHECK_INT(RUN(edit, here, "--models", models, "--transformer", elsewhere, "--steps", "1", "--backend", "cpu", "--record", record), 0);
    CHECK_INT(RUN(replay, record, "--dir", there, "--models", models), 1);
    CHECK(strstr(said.errors, "there is no transformer 'mine.gguf'"));
    CHECK_INT(RUN(replay, record, "--dir", there, "--models", models, "--transformer", "flux1-fill-F16.gguf"), 1);
    CHECK(strstr(said.errors, "holds other weights than the record's"));
    CHECK_INT(RUN(replay, record, "--dir", there, "--models", models, "--transformer", elsewhere), 0);
    CHECK(strstr(said.out, "the same bytes as the record's\n"));
    check_same_results();
    CHECK_INT(RUN(edit, here, "--paint", "identity", "--record", record), 0);
    CHECK_INT(RUN(replay, record, "--dir", there, "--transformer", elsewhere), 1);
    CHECK(strstr(said.errors, "--transformer, --lora: the record was made without a model"));
}
