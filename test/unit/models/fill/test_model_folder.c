#include "models/fill/model_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/limits.h"

enum { ARENA_BYTES = 16 << 20 };

static const float values[4096];

/* The tensors by which a transformer is known as Fill, of one row each: with BFL's names or diffusers'. The name may have
 * a prefix. */
static bool is_input(const char *name)
{
    return span_ends(span_of(name), "img_in.weight") || span_ends(span_of(name), "x_embedder.weight");
}

static struct tensor_write guidance_beside(const char *input, char name[96])
{
    bool diffusers = span_ends(span_of(input), "x_embedder.weight");
    size_t prefix = strlen(input) - strlen(diffusers ? "x_embedder.weight" : "img_in.weight");

    (void)snprintf(name, 96, "%.*s%s", (int)prefix, input,
                   diffusers ? "time_text_embed.guidance_embedder.linear_1.weight" : "guidance_in.in_layer.weight");
    return (struct tensor_write){ name, DT_F32, 1, { 1 }, values };
}

/* A safetensors file of dir with tensors of one value each, and a large one of `filler` values that sets its size. */
static void put(const char *path, int filler, int n, const char *const *names)
{
    struct tensor_write out[16] = { { "filler", DT_F32, 1, { filler }, values } };
    char guidance[8][96];
    struct err err = { 0 };
    int n_out = 1;

    for (int i = 0; i < n; i++) {
        out[n_out++] = is_input(names[i]) ? (struct tensor_write){ names[i], DT_F32, 2, { 1, 384 }, values }
                                          : (struct tensor_write){ names[i], DT_F32, 1, { 1 }, values };
        if (is_input(names[i]))
            out[n_out++] = guidance_beside(names[i], guidance[i]);
    }
    CHECK_OK(safetensors_write(temp_path(path), out, n_out, NULL, 0, &err), err);
}
#define PUT(path, filler, ...) \
    put(path, filler, sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *), (const char *[]){ __VA_ARGS__ })

static void put_text(const char *path, const char *text)
{
    (void)temp_file(path, text, strlen(text));
}

/* A GGUF file of one F32 tensor of n values; beside the input of a transformer, which has 384, there is its guidance. */
static void put_gguf(const char *path, const char *architecture, const char *tensor, uint64_t n)
{
    struct bytes b = { 0 };
    char guidance[96];
    bool input = is_input(tensor);

    gguf_put_header(&b, 3, input ? 2 : 1, architecture ? 1 : 0);
    if (architecture)
        gguf_put_text(&b, "general.architecture", architecture);
    if (input) {
        gguf_put_tensor(&b, tensor, 0, 0, GGUF_DIMS(384, 1));
        gguf_put_tensor(&b, guidance_beside(tensor, guidance).name, 0, 384 * 4, GGUF_DIMS(n));
    } else
        gguf_put_tensor(&b, tensor, 0, 0, GGUF_DIMS(n));
    bytes_pad(&b, 32);
    for (uint64_t i = 0; i < n + (input ? 384 : 0); i++)
        bytes_f32(&b, 0);
    (void)temp_file(path, b.ptr, b.len);
    bytes_done(&b);
}

/* `text` is the end of the path that is found, or a part of the error's message. */
static void expect(const struct model_folder *f, enum model_part part, enum err_code want, const char *text)
{
    struct arena a;
    struct err err = { 0 };
    struct model_found found = { 0 };
    char got[512] = "", message[ERR_MESSAGE_MAX];
    enum err_code rc;

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    rc = model_folder_find(f, part, &a, &found, &err);
    if (!rc)
        (void)snprintf(got, sizeof got, "%s", found.path);
    (void)snprintf(message, sizeof message, "%s", err.msg);
    arena_done(&a);
    if (rc != want || (!rc && !span_ends(span_of(got), text)) || (rc && !strstr(message, text)))
        test_fail(__FILE__, __LINE__, "%s: %s %s%s, want %s %s", model_part_name(part), err_name(rc), got, message,
                  err_name(want), text);
}

/* A new folder below the temporary folder. */
static struct model_folder folder(const char *name)
{
    char path[80];

    (void)snprintf(path, sizeof path, "%s/.", name);
    return (struct model_folder){ .dir = temp_path(path) };
}

TEST(model_folder__names_what_was_looked_for)
{
    struct model_folder f = folder("mf-empty"), absent = { .dir = "/nonexistent/models" };

    expect(&f, MODEL_VAE, ERR_NOT_FOUND, "no VAE: put one there, or give the folder that has one (looked for ae.safetensors, vae/diffusion_pytorch_model.safetensors)");
    for (int part = 0; part < MODEL_PART_COUNT; part++) {
        expect(&f, (enum model_part)part, ERR_NOT_FOUND, "looked for");
        expect(&absent, (enum model_part)part, ERR_NOT_FOUND, "/nonexistent/models");
    }
}

TEST(model_folder__takes_the_largest_transformer_that_fits)
{
    struct model_folder f = folder("mf-gguf");

    put_gguf("mf-gguf/b-large.gguf", "flux", "img_in.weight", 300);
    put_gguf("mf-gguf/a-small.gguf", "flux", "img_in.weight", 100);
    put_gguf("mf-gguf/z-large.gguf", "flux", "img_in.weight", 300);
    put_gguf("mf-gguf/t5.gguf", "t5encoder", "enc.output_norm.weight", 900);
    put_gguf("mf-gguf/other.gguf", "sd3", "img_in.weight", 900);
    PUT("mf-gguf/flux.safetensors", 4000, "img_in.weight");
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/b-large.gguf"); /* the first of two files of the same size; GGUF comes before safetensors */
    f.transformer = "auto";
    f.max_transformer_bytes = 2500;
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/a-small.gguf");
    f.max_transformer_bytes = 100;
    expect(&f, MODEL_TRANSFORMER, ERR_TOO_LARGE, "a-small.gguf has 0.00 GB, over the 0.00 GB that fit");
    f.transformer = "z-large";
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/z-large.gguf");
    f.transformer = "a-small.gguf";
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/a-small.gguf");
    f.transformer = "flux.safetensors";
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/flux.safetensors");
    f.transformer = temp_path("mf-gguf/z-large.gguf");
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/z-large.gguf");
    f.transformer = "t5.gguf";
    expect(&f, MODEL_TRANSFORMER, ERR_NOT_FOUND, "t5.gguf");
    f.transformer = "absent";
    expect(&f, MODEL_TRANSFORMER, ERR_NOT_FOUND, "no transformer 'absent'");
    expect(&f, MODEL_T5, ERR_OK, "/t5.gguf");
    put_text("mf-gguf/broken.gguf", "GGUF and then nonsense");
    f.transformer = "broken.gguf";
    expect(&f, MODEL_TRANSFORMER, ERR_CORRUPT, "broken.gguf");
    expect(&f, MODEL_T5_TOKENIZER, ERR_CORRUPT, "broken.gguf"); /* t5.gguf has no vocabulary, broken.gguf might have one */
    CHECK_INT(unlink(temp_path("mf-gguf/broken.gguf")), 0);
    expect(&f, MODEL_T5_TOKENIZER, ERR_NOT_FOUND, "tokenizer_2/spiece.model");
}

TEST(model_folder__knows_a_transformer_by_its_names_where_the_architecture_does_not_say)
{
    static const char *const architectures[] = { NULL, "pig", "cow", "flux" };
    struct model_folder f = folder("mf-names");

    for (int i = 0; i < 4; i++) {
        put_gguf("mf-names/x.gguf", architectures[i], "model.diffusion_model.img_in.weight", 10);
        expect(&f, MODEL_TRANSFORMER, ERR_OK, "/x.gguf");
        put_gguf("mf-names/x.gguf", architectures[i], "something.weight", 10);
        expect(&f, MODEL_TRANSFORMER, ERR_NOT_FOUND, "x.gguf is something unknown");
        put_gguf("mf-names/x.gguf", architectures[i], "x_embedder.weight", 10);
        expect(&f, MODEL_TRANSFORMER, ERR_OK, "/x.gguf");
    }
    put_gguf("mf-names/x.gguf", NULL, "something.weight", 10);
    put_gguf("mf-names/good.gguf", NULL, "img_in.weight", 1);
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/good.gguf"); /* the refused file does not keep the good one from being found */
}

TEST(model_folder__finds_a_safetensors_transformer_among_other_files)
{
    struct model_folder f = folder("mf-st");

    PUT("mf-st/ae.safetensors", 9, "decoder.conv_in.weight");
    PUT("mf-st/clip_l.safetensors", 9, "text_model.embeddings.token_embedding.weight");
    PUT("mf-st/t5xxl_fp16.safetensors", 900, "encoder.final_layer_norm.weight");
    PUT("mf-st/t5xxl_fp8.safetensors", 90, "encoder.final_layer_norm.weight");
    PUT("mf-st/t5xxl_nf4.safetensors", 2000, "encoder.final_layer_norm.weight", "x.absmax");
    PUT("mf-st/prompts.safetensors", 9, "prompt_embeds");
    expect(&f, MODEL_TRANSFORMER, ERR_NOT_FOUND, "no transformer");
    PUT("mf-st/part-00001-of-00002.safetensors", 9, "img_in.weight");
    PUT("mf-st/part-00002-of-00002.safetensors", 9, "txt_in.weight");
    expect(&f, MODEL_TRANSFORMER, ERR_NOT_FOUND, "part-00001-of-00002.safetensors is"); /* a shard is half of a model */
    put_text("mf-st/part.safetensors.index.json",
             "{\"weight_map\":{\"img_in.weight\":\"part-00001-of-00002.safetensors\"}}");
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/part.safetensors.index.json");
    PUT("mf-st/flux1-fill-dev.safetensors", 9, "img_in.weight");
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/flux1-fill-dev.safetensors");
    expect(&f, MODEL_VAE, ERR_OK, "/ae.safetensors");
    expect(&f, MODEL_CLIP, ERR_OK, "/clip_l.safetensors");
    expect(&f, MODEL_T5, ERR_OK, "/t5xxl_fp16.safetensors"); /* the one in NF4 is larger, but not read */
    expect(&f, MODEL_PROMPTS, ERR_OK, "/prompts.safetensors");
    expect(&f, MODEL_CLIP_TOKENIZER, ERR_NOT_FOUND, "vocab.json");
}

TEST(model_folder__says_why_the_only_t5_is_refused)
{
    struct model_folder f = folder("mf-scaled");

    PUT("mf-scaled/t5xxl_nf4.safetensors", 20, "encoder.final_layer_norm.weight", "x.absmax");
    expect(&f, MODEL_T5, ERR_NOT_FOUND, "t5xxl_nf4.safetensors is a T5 encoder in 4-bit values of bitsandbytes (NF4)");
}

TEST(model_folder__prefers_the_folders_of_a_diffusers_layout)
{
    struct model_folder f = folder("mf-diffusers");

    PUT("mf-diffusers/vae/diffusion_pytorch_model.safetensors", 1, "x");
    PUT("mf-diffusers/clip_l.safetensors", 1, "x");
    PUT("mf-diffusers/text_encoder/model.safetensors", 1, "x");
    PUT("mf-diffusers/t5xxl.safetensors", 1, "encoder.final_layer_norm.weight");
    PUT("mf-diffusers/text_encoder_2/model-00001-of-00001.safetensors", 1, "encoder.final_layer_norm.weight");
    expect(&f, MODEL_T5, ERR_OK, "/t5xxl.safetensors"); /* a shard without its index is not a model */
    put_text("mf-diffusers/text_encoder_2/model.safetensors.index.json", "{}");
    expect(&f, MODEL_T5, ERR_OK, "/text_encoder_2/model.safetensors.index.json");
    expect(&f, MODEL_VAE, ERR_OK, "/vae/diffusion_pytorch_model.safetensors");
    expect(&f, MODEL_CLIP, ERR_OK, "/text_encoder/model.safetensors");
    put_text("mf-diffusers/tokenizer/vocab.json", "{}");
    expect(&f, MODEL_CLIP_TOKENIZER, ERR_NOT_FOUND, "merges.txt");
    put_text("mf-diffusers/tokenizer/merges.txt", "");
    expect(&f, MODEL_CLIP_TOKENIZER, ERR_OK, "/tokenizer/vocab.json");
    put_text("mf-diffusers/tokenizer_2/spiece.model", "");
    expect(&f, MODEL_T5_TOKENIZER, ERR_OK, "/tokenizer_2/spiece.model");
    put_text("mf-diffusers/tokenizer_2/tokenizer.json", "");
    expect(&f, MODEL_T5_TOKENIZER, ERR_OK, "/tokenizer_2/tokenizer.json");
}

TEST(model_folder__finds_every_part_of_the_golden_sets)
{
    static const struct {
        const char *dir;
        const char *paths[MODEL_PART_COUNT]; /* NULL: the set has no such part */
    } sets[] = {
        { "small/models",
          { "/flux1-fill-F32.gguf", "/ae.safetensors", "/text_encoder/model.safetensors",
            "/text_encoder_2/model.safetensors", "/tokenizer/vocab.json", "/tokenizer_2/tokenizer.json", NULL } },
        { "comfy/models",
          { "/flux1-fill-Q8_0.gguf", "/ae.safetensors", "/clip_l.safetensors", "/t5-encoder-Q8_0.gguf",
            "/tokenizer/vocab.json", "/t5-encoder-Q8_0.gguf", NULL } },
    };

    for (int i = 0; i < 2; i++) {
        struct model_folder f = { .dir = golden("%s", sets[i].dir) };

        for (int part = 0; part < MODEL_PART_COUNT; part++)
            expect(&f, (enum model_part)part, sets[i].paths[part] ? ERR_OK : ERR_NOT_FOUND,
                   sets[i].paths[part] ? sets[i].paths[part] : "prompts.safetensors");
    }
}

TEST(shards__open_what_an_index_lists)
{
    static const char index[] = "{\"metadata\":{\"total_size\":8},\"weight_map\":{\"one\":\"s-1.safetensors\","
                                "\"two\":\"s-2.safetensors\",\"three\":\"s-1.safetensors\"}}";
    struct arena a;
    struct shards s = { 0 };
    struct err err = { 0 };

    PUT("shards/s-1.safetensors", 1, "one", "three");
    PUT("shards/s-2.safetensors", 1, "two");
    put_text("shards/m.safetensors.index.json", index);
    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(shards_open(temp_path("shards/m.safetensors.index.json"), &a, &s, &err), err);
    CHECK_INT(s.n_files, 2);
    CHECK(tensor_file_find(&s.files[0], SPAN("three")) && tensor_file_find(&s.files[1], SPAN("two")));
    CHECK_INT(shards_bytes(&s), s.files[0].map.len + s.files[1].map.len);
    CHECK_OK(shards_open(temp_path("shards/s-2.safetensors"), &a, &s, &err), err);
    CHECK_INT(s.n_files, 1);
    arena_done(&a);
}

TEST(shards__refuse_an_index_that_reaches_elsewhere)
{
    static const struct {
        const char *text;
        enum err_code want;
    } cases[] = {
        { "{\"weight_map\":{\"a\":\"../s-1.safetensors\"}}", ERR_CORRUPT },
        { "{\"weight_map\":{\"a\":\"/etc/s-1.safetensors\"}}", ERR_CORRUPT },
        { "{\"weight_map\":{\"a\":\"sub\\/s-1.safetensors\"}}", ERR_CORRUPT },
        { "{\"weight_map\":{\"a\":\"sub\\\\s-1.safetensors\"}}", ERR_CORRUPT },
        { "{\"weight_map\":{\"a\":\"..safetensors\"}}", ERR_CORRUPT },
        { "{\"weight_map\":{\"a\":\".safetensors\"}}", ERR_CORRUPT },
        { "{\"weight_map\":{\"a\":\"passwd\"}}", ERR_CORRUPT },
        { "{\"weight_map\":{\"a\":\"\"}}", ERR_CORRUPT },
        { "{\"weight_map\":{\"a\":1}}", ERR_CORRUPT },
        { "{\"weight_map\":[]}", ERR_CORRUPT },
        { "{\"weight_map\":{}}", ERR_CORRUPT },
        { "{}", ERR_CORRUPT },
        { "[]", ERR_CORRUPT },
        { "{\"weight_map\":{\"a\":\"x.safetensors\"},\"weight_map\":{}}", ERR_CORRUPT },
        { "", ERR_CORRUPT },
        { "{\"weight_map\":{\"a\":\"absent.safetensors\"}}", ERR_NOT_FOUND },
    };
    struct arena a;
    struct shards s;
    struct err err = { 0 };

    PUT("bad/s-1.safetensors", 1, "a");
    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum err_code rc;

        put_text("bad/m.safetensors.index.json", cases[i].text);
        rc = shards_open(temp_path("bad/m.safetensors.index.json"), &a, &s, &err);
        if (rc != cases[i].want)
            test_fail(__FILE__, __LINE__, "%s: %s", cases[i].text, err_name(rc));
        CHECK_INT(a.used, 0);
    }
    arena_done(&a);
}

TEST(shards__limit_their_number)
{
    struct bytes b = { 0 };
    struct arena a;
    struct shards s;
    struct err err = { 0 };
    char entry[64];

    bytes_text(&b, "{\"weight_map\":{");
    for (int i = 0; i <= SHARDS_MAX_FILES; i++) {
        (void)snprintf(entry, sizeof entry, "%s\"t%d\":\"f%d.safetensors\"", i ? "," : "", i, i);
        bytes_text(&b, entry);
    }
    bytes_text(&b, "}}");
    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_INT(shards_open(temp_file("many.index.json", b.ptr, b.len), &a, &s, &err), ERR_TOO_LARGE);
    arena_done(&a);
    bytes_done(&b);
}

/* Puts something under this name that cannot be read as a model. */
enum unreadable { NONSENSE, NOT_WRITTEN, NOWHERE, UNREADABLE_KINDS };

static void put_unreadable(const char *path, enum unreadable kind, size_t bytes)
{
    const char *at = temp_path(path);
    char *junk = calloc(1, bytes);

    (void)unlink(at);
    (void)rmdir(at);
    if (kind == NOWHERE)
        CHECK(symlink("/nonexistent/blob", at) == 0);
    else {
        if (kind == NONSENSE)
            memcpy(junk, "GGUF nonsense", 13);
        (void)temp_file(path, junk, bytes);
    }
    free(junk);
}

/* A larger file that cannot be read may be the one that would be taken: another in its place would compute another
 * picture, without a word. */
TEST(model_folder__takes_no_other_file_in_the_place_of_one_that_cannot_be_read)
{
    static const struct {
        enum model_part part;
        const char *good, *bad;
    } cases[] = {
        { MODEL_TRANSFORMER, "mf-unread/good.gguf", "mf-unread/large-fill.gguf" },
        { MODEL_T5, "mf-unread-t5/t5xxl_good.safetensors", "mf-unread-t5/t5xxl_large.safetensors" },
        { MODEL_T5, "mf-unread-t5/t5xxl_good.safetensors", "mf-unread-t5/t5xxl_a.safetensors" },
        { MODEL_TRANSFORMER, "mf-unread-st/good.safetensors", "mf-unread-st/fill-large.safetensors" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int kind = 0; kind < UNREADABLE_KINDS; kind++) {
            char name[64];
            struct model_folder f;

            (void)snprintf(name, sizeof name, "%.*s", (int)(strchr(cases[i].good, '/') - cases[i].good), cases[i].good);
            f = folder(name);
            if (strstr(cases[i].good, ".gguf"))
                put_gguf(cases[i].good, "flux", "img_in.weight", 100);
            else
                PUT(cases[i].good, 100, cases[i].part == MODEL_T5 ? "encoder.final_layer_norm.weight" : "img_in.weight");
            put_unreadable(cases[i].bad, (enum unreadable)kind, 8192);
            expect(&f, cases[i].part,
                   (const enum err_code[]){ ERR_UNSUPPORTED, ERR_CORRUPT, ERR_IO }[kind],
                   strrchr(cases[i].bad, '/') + 1);
            if (kind < NOWHERE) {
                put_unreadable(cases[i].bad, (enum unreadable)kind, 64); /* a smaller one would not be taken anyway */
                expect(&f, cases[i].part, ERR_OK, strrchr(cases[i].good, '/'));
            }
            f.max_transformer_bytes = 4096; /* nor would one that is over the limit */
            put_unreadable(cases[i].bad, NONSENSE, 8192);
            if (cases[i].part == MODEL_TRANSFORMER)
                expect(&f, cases[i].part, ERR_OK, strrchr(cases[i].good, '/'));
            CHECK(unlink(temp_path(cases[i].bad)) == 0);
        }
}

/* Its directory says how large it should have been. Of a copy that broke off before that, nobody knows. */
TEST(model_folder__a_file_that_is_cut_off_may_be_the_largest)
{
    struct model_folder f = folder("mf-cut"), st = folder("mf-cut-st");
    struct stat whole;
    char want[80];

    put_gguf("mf-cut/good.gguf", "flux", "img_in.weight", 900);
    put_gguf("mf-cut/large.gguf", "flux", "img_in.weight", 1000);
    CHECK(stat(temp_path("mf-cut/large.gguf"), &whole) == 0);
    CHECK(truncate(temp_path("mf-cut/large.gguf"), 2500) == 0);
    (void)snprintf(want, sizeof want, "large.gguf is FLUX.1-Fill, unfinished: %d bytes are missing",
                   (int)whole.st_size - 2500);
    expect(&f, MODEL_TRANSFORMER, ERR_CORRUPT, want);
    f.max_transformer_bytes = whole.st_size - 1;
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/good.gguf"); /* the whole would be over the limit */
    CHECK(truncate(temp_path("mf-cut/large.gguf"), 60) == 0);
    expect(&f, MODEL_TRANSFORMER, ERR_CORRUPT, "large.gguf: it may be the transformer");
    PUT("mf-cut-st/good.safetensors", 900, "img_in.weight");
    PUT("mf-cut-st/large.safetensors", 1000, "img_in.weight");
    CHECK(truncate(temp_path("mf-cut-st/large.safetensors"), 600) == 0);
    expect(&st, MODEL_TRANSFORMER, ERR_CORRUPT, "large.safetensors is FLUX.1-Fill, unfinished");
    PUT("mf-cut-st/large.safetensors", 800, "img_in.weight");
    CHECK(truncate(temp_path("mf-cut-st/large.safetensors"), 600) == 0);
    expect(&st, MODEL_TRANSFORMER, ERR_OK, "/good.safetensors"); /* it would be the smaller one */
    CHECK(unlink(temp_path("mf-cut-st/good.safetensors")) == 0);
    expect(&st, MODEL_TRANSFORMER, ERR_CORRUPT, "large.safetensors is FLUX.1-Fill, unfinished");
    st.transformer = "large";
    expect(&st, MODEL_TRANSFORMER, ERR_CORRUPT, "large is FLUX.1-Fill, unfinished");
}

/* The process may open no more files: nothing can be read, and nothing is taken for absent. */
TEST(model_folder__a_folder_that_cannot_be_read_is_no_empty_folder)
{
    struct model_folder f = folder("mf-no-files");
    struct rlimit was;

    put_gguf("mf-no-files/a.gguf", "flux", "img_in.weight", 100);
    put_gguf("mf-no-files/b.gguf", "flux", "img_in.weight", 10);
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/a.gguf");
    was = limit_files();
    expect(&f, MODEL_TRANSFORMER, ERR_IO, "Too many open files");
    expect(&f, MODEL_T5, ERR_IO, "Too many open files");
    CHECK(setrlimit(RLIMIT_NOFILE, &was) == 0);
}

TEST(model_folder__a_link_that_leads_nowhere_is_not_absent)
{
    struct model_folder f = folder("mf-links");
    static const struct {
        enum model_part part;
        const char *path;
    } cases[] = { { MODEL_VAE, "mf-links/ae.safetensors" },
                  { MODEL_PROMPTS, "mf-links/prompts.safetensors" },
                  { MODEL_T5_TOKENIZER, "mf-links/tokenizer_2/tokenizer.json" },
                  { MODEL_T5, "mf-links/text_encoder_2/model.safetensors" } };

    PUT("mf-links/vae/diffusion_pytorch_model.safetensors", 1, "x");
    put_text("mf-links/tokenizer_2/spiece.model", "");
    PUT("mf-links/text_encoder_2/model-a.safetensors", 1, "encoder.final_layer_norm.weight");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK(symlink("/nonexistent/blob", temp_path(cases[i].path)) == 0);
        expect(&f, cases[i].part, ERR_OK, strrchr(cases[i].path, '/')); /* opening it says what is wrong */
    }
}
