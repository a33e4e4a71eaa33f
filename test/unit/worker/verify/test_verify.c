#include "worker/verify/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"

enum { ARENA_BYTES = 256 << 20, MERGES_BYTES = 524619 /* of CLIP's published merges.txt */ };

/* The folder of a golden set. */
static const char *models_of(const char *set)
{
    static char dir[512];
    const char *path = golden("%s/models/ae.safetensors", set);

    (void)snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    return dir;
}

static bool has(const struct model_files *m, const char *end, bool has_tensors)
{
    for (int i = 0; i < m->n; i++)
        if (span_ends(span_of(m->file[i].path), end))
            return m->file[i].has_tensors == has_tensors;
    return false;
}

TEST(model_files__lists_every_file_of_a_folder_once)
{
    struct model_folder folder = { .dir = models_of("small"), .transformer = "flux1-fill-Q5_1" };
    struct model_files m = { 0 };
    struct arena a;

    CHECK_INT(arena_init(&a, ARENA_BYTES, NULL), ERR_OK);
    model_files_add_folder(&m, &folder, &a);
    CHECK_INT(m.n, 7);
    CHECK(has(&m, "/flux1-fill-Q5_1.gguf", true) && has(&m, "/ae.safetensors", true));
    CHECK(has(&m, "/text_encoder/model.safetensors", true) && has(&m, "/text_encoder_2/model.safetensors", true));
    CHECK(has(&m, "/tokenizer/vocab.json", false) && has(&m, "/tokenizer/merges.txt", false));
    CHECK(has(&m, "/tokenizer_2/tokenizer.json", false));
    folder = (struct model_folder){ .dir = models_of("gguf") };
    m = (struct model_files){ 0 };
    model_files_add_folder(&m, &folder, &a);
    CHECK_INT(m.n, 6); /* T5's file is its vocabulary, too */
    CHECK(has(&m, "/t5-encoder-Q8_0.gguf", true));
    for (int i = 0; i < m.n; i++) {
        char path[700];

        (void)snprintf(path, sizeof path, "./%s", m.file[i].path);
        CHECK_INT(model_files_find(&m, path), i);
    }
    CHECK_INT(model_files_find(&m, "/nowhere"), -1);
    arena_done(&a);
}

static const char *put_part(const char *name, int no)
{
    struct bytes b = { 0 };

    gguf_put_header(&b, 3, 1, 2);
    gguf_put_int(&b, "split.no", no);
    gguf_put_int(&b, "split.count", 2);
    gguf_put_tensor(&b, no ? "b" : "a", 0, 0, GGUF_DIMS(4, 2));
    bytes_pad(&b, 32);
    for (int i = 0; i < 8; i++)
        bytes_f32(&b, 1);
    (void)temp_file(name, b.ptr, b.len);
    bytes_done(&b);
    return temp_path(name);
}

TEST(model_files__adds_all_parts_of_a_split_gguf)
{
    struct verified_file first = { .part = MODEL_TRANSFORMER, .has_tensors = true };
    struct model_files m = { 0 };
    struct arena a;
    char path[700];

    CHECK_INT(arena_init(&a, ARENA_BYTES, NULL), ERR_OK);
    (void)put_part("t-00002-of-00002.gguf", 1);
    (void)snprintf(path, sizeof path, "%s", put_part("t-00001-of-00002.gguf", 0));
    first.path = path;
    model_files_add(&m, &first, &a);
    CHECK_INT(m.n, 2);
    CHECK(has(&m, "/t-00001-of-00002.gguf", true) && has(&m, "/t-00002-of-00002.gguf", true));
    arena_done(&a);
}

/* The list's own facts about models/demo, which are files of this repository. */
TEST(model_files__knows_the_files_of_the_demo)
{
    static const char *const names[] = { "flux1-fill-demo-Q8_0.gguf", "ae.safetensors", "prompts.safetensors" };
    char path[64], sha256[FILE_DIGEST_SIZE], text[VERDICT_TEXT_SIZE];
    struct err err = { 0 };
    int64_t bytes;

    for (int i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "models/demo/%s", names[i]);
        CHECK_OK(file_digest(path, NULL, sha256, &bytes, &err), err);
        CHECK_INT(model_file_judge(path, bytes, sha256, text), VERDICT_KNOWN);
        CHECK(strstr(text, "known file, digest right: the ") && strstr(text, "of the demo"));
        CHECK(!model_file_has_odd_size(path, text));
    }
}

TEST(model_files__judges_by_digest_name_and_size)
{
    static const char fill[] = "03e289f530df51d014f48e675a9ffa2141bc003259bf5f25d75b957e920a41ca";
    static const char other[] = "13e289f530df51d014f48e675a9ffa2141bc003259bf5f25d75b957e920a41ca";
    char text[VERDICT_TEXT_SIZE];

    CHECK_INT(model_file_judge("/m/my own name", 23804922408, fill, text), VERDICT_KNOWN);
    CHECK_STR(text, "my own name: known file, digest right: FLUX.1-Fill, BF16, from black-forest-labs/FLUX.1-Fill-dev");
    CHECK_INT(model_file_judge("/m/flux1-fill-dev.safetensors", 23804922408, other, text), VERDICT_WRONG);
    CHECK_STR(text, "flux1-fill-dev.safetensors: it has the name and size of FLUX.1-Fill, BF16 from "
                    "black-forest-labs/FLUX.1-Fill-dev, and another digest: it is damaged; fetch it again, or rename it "
                    "if it is meant to be another file");
    CHECK_INT(model_file_judge("/m/flux1-fill-dev.safetensors", 23804922409, other, text), VERDICT_UNKNOWN);
    CHECK(strstr(text, "unknown file, sha256 13e289f530df"));
    CHECK_INT(model_file_judge("/m/flux1-fill-dev-Q4_0.gguf", 6809920800, other, text), VERDICT_WRONG);
    CHECK_INT(model_file_judge("/m/t5-v1_1-xxl-encoder-Q6_K.gguf", 3908261056, other, text), VERDICT_UNKNOWN);
}

/* A copy of a golden file in which a page of a matrix is zero. */
TEST(model_files__proves_every_tensor_of_a_file)
{
    struct err err = { 0 };
    struct arena a;
    struct tensor_file f;
    const struct tensor_entry *e = NULL;
    char *copy;

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(tensor_file_open(golden("small/models/flux1-fill-Q8_0.gguf"), &a, &f, &err), err);
    for (int i = 0; i < f.n_entries && !e; i++)
        if (f.entries[i].n_dims == 2 && f.entries[i].bytes > 3 * 4096)
            e = &f.entries[i];
    CHECK(e);
    copy = exact_copy(f.map.ptr, f.map.len);
    CHECK_OK(model_file_prove(temp_file("whole.gguf", copy, f.map.len), &a, &err), err);
    memset(copy + ((const char *)e->data - f.map.ptr) / 4096 * 4096 + 4096, 0, 4096);
    CHECK_INT(model_file_prove(temp_file("hole.gguf", copy, f.map.len), &a, &err), ERR_CORRUPT);
    CHECK(strstr(err.msg, "hole.gguf: tensor '") && strstr(err.msg, "the download was not finished"));
    free(copy);
    arena_done(&a);
}

/* ---- beside loading ---- */

/* A folder with the files of a golden set, and one of another size or content in the place of CLIP's merges. */
static const char *folder_with_merges(const char *name, const char *merges, size_t n)
{
    static const char *const files[] = { "ae.safetensors", "flux1-fill-Q8_0.gguf", "flux1-fill-F16.gguf",
                                         "tokenizer/vocab.json" };
    static char dir[512];
    char sub[600], to[700];

    temp_folder(name, dir, sizeof dir);
    (void)snprintf(sub, sizeof sub, "%s/tokenizer", name);
    temp_folder(sub, to, sizeof to);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *real = realpath(golden("small/models/%s", files[i]), NULL);

        (void)snprintf(to, sizeof to, "%s/%s", dir, files[i]);
        CHECK(real && symlink(real, to) == 0);
        free(real);
    }
    (void)snprintf(to, sizeof to, "%s/tokenizer/merges.txt", dir);
    FILE *f = fopen(to, "w");
    CHECK(f && fwrite(merges, 1, n, f) == n && fclose(f) == 0);
    return dir;
}

static const char *note_with(const struct verify *v, const char *part)
{
    for (int i = 0; verify_note(v, i); i++)
        if (strstr(verify_note(v, i), part))
            return verify_note(v, i);
    return NULL;
}

static struct verify *start(enum verify_mode mode, const char *dir, const char *transformer)
{
    const struct model_folder folder = { .dir = dir, .transformer = transformer };
    struct verify *v = NULL;
    struct err err = { 0 };

    CHECK_OK(verify_start(mode, &folder, &v, &err), err);
    return v;
}

TEST(verify__notes_a_known_name_with_another_size)
{
    const char *dir = models_of("small");
    struct verify *v = start(VERIFY_SIZE, dir, "flux1-fill-Q8_0.gguf");
    char path[600];
    struct err err = { 0 };

    (void)snprintf(path, sizeof path, "./%s//flux1-fill-Q8_0.gguf", dir); /* another path of the same file */
    CHECK_OK(verify_finish(v, path, NULL, 0, &err), err);
    CHECK(note_with(v, "ae.safetensors has ") && strstr(verify_note(v, 0), " bytes; the published file of this name"));
    CHECK(!verify_note(v, 1));
    verify_free(v);
}

TEST(verify__notes_the_digests_of_unknown_files)
{
    const char *dir = models_of("small"), *lora = temp_file("lora", "abc", 3);
    struct verify *v = start(VERIFY_DIGEST, dir, NULL);
    char path[600];
    struct err err = { 0 };

    (void)snprintf(path, sizeof path, "%s/flux1-fill-Q4_0.gguf", dir); /* not the largest */
    CHECK_OK(verify_finish(v, path, &lora, 1, &err), err);
    CHECK(note_with(v, "ae.safetensors: unknown file, sha256 ") && note_with(v, "flux1-fill-Q4_0.gguf: unknown file"));
    CHECK(!note_with(v, "flux1-fill-F32.gguf"));
    CHECK_STR(note_with(v, "lora"), "lora: unknown file, sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f"
                                    "20015ad");
    verify_free(v);
}

TEST(verify__refuses_a_known_name_and_size_with_another_digest)
{
    char *zeros = calloc(1, MERGES_BYTES), path[600];

    for (int mode = VERIFY_SIZE; mode <= VERIFY_DIGEST; mode++) {
        const char *dir = folder_with_merges(mode ? "digest" : "size", zeros, MERGES_BYTES);
        struct verify *v = start((enum verify_mode)mode, dir, NULL);
        struct err err = { 0 };

        (void)snprintf(path, sizeof path, "%s/flux1-fill-F16.gguf", dir);
        CHECK_INT(verify_finish(v, path, NULL, 0, &err), mode == VERIFY_DIGEST ? ERR_CORRUPT : ERR_OK);
        CHECK(mode == VERIFY_SIZE || (strstr(err.msg, "merges.txt: it has the name and size of ") &&
                                      strstr(err.msg, "fetch it again, or rename it")));
        verify_free(v);
    }
    free(zeros);
}

TEST(verify__can_be_given_up_at_any_time)
{
    verify_free(NULL);
    for (int i = 0; i < 8; i++)
        verify_free(start(VERIFY_DIGEST, models_of("small"), NULL));
    verify_free(start(VERIFY_DIGEST, "/nowhere", NULL));
}

TEST(verify__reports_a_file_that_is_gone)
{
    struct verify *v = start(VERIFY_DIGEST, models_of("small"), "flux1-fill-Q8_0");
    struct err err = { 0 };

    CHECK_INT(verify_finish(v, "/nowhere/flux1-fill.gguf", NULL, 0, &err), ERR_NOT_FOUND);
    CHECK(strstr(err.msg, "/nowhere/flux1-fill.gguf"));
    verify_free(v);
}
