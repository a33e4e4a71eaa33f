/* What `edit` says: which files it wrote, and what is missing. What it computes is tested with the job (worker/job). */
#include <stdio.h>
#include <string.h>

#include "models/codec/decode.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/outputs.h"
#include "test/support/pictures.h"
#include "worker/cli/commands.h"

static char folder[300];
static struct outputs_text said;

static void copy(const char *name, const char *official)
{
    struct arena a = { 0 };
    struct err err = { 0 };
    struct span bytes;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    bytes = file_bytes(&a, golden("%s", official));
    (void)temp_file(name, bytes.ptr, bytes.len);
    arena_done(&a);
}

static int edit(const char *dir)
{
    const char *model = golden("small/models/ae.safetensors");
    char models[512];

    (void)snprintf(models, sizeof models, "%.*s", (int)(strrchr(model, '/') - model), model);
    return outputs_of(cmd_edit, (const char *const[]){ "edit", dir, "--models", models, "--transformer",
                                                       "flux1-fill-Q8_0.gguf", "--steps", "1", "--backend", "cpu", NULL },
                      &said);
}

TEST(cmd_edit__says_what_to_put_where_a_file_is_missing)
{
    temp_folder("session", folder, sizeof folder);
    CHECK_INT(edit("/no/such/folder"), 1);
    CHECK(strstr(said.errors, "there is no folder '/no/such/folder': make it, and put original.jpg and mask_auto.png into it\n"));
    CHECK_INT(edit(folder), 1);
    CHECK(strstr(said.errors, "there is no original.jpg in '") && strstr(said.errors, "put the photo, JPEG or PNG, there under this name\n"));
    copy("session/original.jpg", "small/cases/fill_0.image.png");
    CHECK_INT(edit(folder), 1);
    CHECK(strstr(said.errors, "there is no mask_auto.png in '") && strstr(said.errors, "white where the photo is to be painted anew"));
    CHECK(!strstr(said.errors, "load")); /* before a model is loaded */
    CHECK_STR(said.out, "");
}

/* The line that says that a file was written is true. */
static void check_written(const char *name)
{
    char want[600], path[400];
    struct image picture;
    struct arena a = { 0 };
    struct err err = { 0 };
    struct span bytes;

    CHECK_OK(arena_init(&a, 256 << 20, &err), err);
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    bytes = file_bytes(&a, path);
    CHECK_OK(image_decode(&a, bytes, &(struct decode_options){ .alpha = IMAGE_ALPHA_DROP }, &picture, NULL, &err), err);
    (void)snprintf(want, sizeof want, "wrote %s, %d x %d pixels, %zu bytes\n", path, picture.width, picture.height, bytes.len);
    CHECK(strstr(said.out, want));
    arena_done(&a);
}

TEST(cmd_edit__says_which_files_it_wrote_and_how_far_it_is)
{
    temp_folder("session", folder, sizeof folder);
    copy("session/original.jpg", "small/cases/fill_0.image.png");
    copy("session/mask_auto.png", "small/cases/fill_0.mask.png");
    CHECK_INT(edit(folder), 0);
    check_written("edited.jpg");
    check_written("preview.jpg");
    CHECK(strstr(said.errors, "load: done in ") && strstr(said.errors, "denoise: 1 step in ") && strstr(said.errors, "decode: done in "));
}
