/* test_model_folder_neighbours - folders as people have them: other models, adapters, downloads and rubbish beside the
 * files that are needed, in the layouts of the official repository, of ComfyUI and of the download cache. */
#include "models/fill/model_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test/support/bytes.h"
#include "test/support/check.h"

enum { ARENA_BYTES = 64 << 20, MAX_WORDS = 24 };

static const float values[1 << 16];

/* --- files made of words --- */

/* "NAME NAME[2,384] NAME*": vectors of 8, or of these dimensions, or of `filler` values. */
static int parse(char *words, int filler, struct tensor_write *ret)
{
    char *rest = NULL;
    int n = 0;

    for (char *word = strtok_r(words, " ", &rest); word && n < MAX_WORDS; word = strtok_r(NULL, " ", &rest)) {
        struct tensor_write *t = &ret[n++];
        char *dims = strchr(word, '['), *star = strchr(word, '*');

        *t = (struct tensor_write){ .name = word, .dtype = DT_F32, .n_dims = 1, .dims = { star ? filler : 8 } };
        t->data = values;
        if (star)
            *star = 0;
        if (!dims)
            continue;
        *dims = 0;
        for (t->n_dims = 0; dims[0] != ']' && dims[1]; t->n_dims++)
            t->dims[t->n_dims] = strtoll(dims + 1, &dims, 10);
    }
    return n;
}

static void make_way(const char *path)
{
    char parent[512];
    char *slash;

    (void)snprintf(parent, sizeof parent, "%s", path);
    for (slash = strchr(parent + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)mkdir(parent, 0777);
        *slash = '/';
    }
}

static const char *in(const char *dir, const char *name, char ret[512])
{
    (void)snprintf(ret, 512, "%s/%s", dir, name);
    make_way(ret);
    return ret;
}

static void put_st(const char *dir, const char *name, const char *tensors, int filler)
{
    struct tensor_write out[MAX_WORDS];
    char path[512], words[2048];
    struct err err = { 0 };

    (void)snprintf(words, sizeof words, "%s", tensors);
    CHECK_OK(safetensors_write(in(dir, name, path), out, parse(words, filler, out), NULL, 0, &err), err);
}

static void put_bytes(const char *dir, const char *name, const void *data, size_t n)
{
    char path[512];
    FILE *out = fopen(in(dir, name, path), "wb");

    CHECK(out && fwrite(data, 1, n, out) == n && fclose(out) == 0);
}

static void put_text(const char *dir, const char *name, const char *text)
{
    put_bytes(dir, name, text, strlen(text));
}

enum vocabulary { NO_VOCABULARY, WITHOUT_CHARSMAP, WITH_CHARSMAP };

struct part_of {
    int no, count; /* of a file in several; count 0: it is whole */
};

static void put_gguf(const char *dir, const char *name, const char *architecture, const char *tensors, uint32_t type,
                     struct part_of part, enum vocabulary v)
{
    struct tensor_write out[MAX_WORDS];
    char words[2048];
    struct bytes b = { 0 };
    uint64_t offset = 0;
    int n;

    (void)snprintf(words, sizeof words, "%s", tensors);
    n = parse(words, 4096, out);
    gguf_put_header(&b, 3, (uint64_t)n, 1 + (part.count ? 2 : 0) + (uint64_t)v);
    gguf_put_text(&b, "general.architecture", architecture);
    if (part.count) {
        gguf_put_int(&b, "split.no", part.no);
        gguf_put_int(&b, "split.count", part.count);
    }
    if (v >= WITHOUT_CHARSMAP)
        gguf_put_ints(&b, "tokenizer.ggml.tokens", 1, (const int32_t[]){ 0 });
    if (v == WITH_CHARSMAP)
        gguf_put_ints(&b, "tokenizer.ggml.precompiled_charsmap", 1, (const int32_t[]){ 0 });
    for (int i = 0; i < n; i++) {
        uint64_t dims[4] = { 0 }, count = 1;

        for (int d = 0; d < out[i].n_dims; d++) {
            dims[d] = (uint64_t)out[i].dims[out[i].n_dims - 1 - d];
            count *= dims[d];
        }
        gguf_put_tensor(&b, out[i].name, i ? 0 : type, offset, (uint32_t)out[i].n_dims, dims);
        offset += (count * 4 + 31) / 32 * 32;
    }
    bytes_pad(&b, 32);
    for (uint64_t i = 0; i < offset; i++)
        bytes_u8(&b, 0);
    put_bytes(dir, name, b.ptr, b.len);
    bytes_done(&b);
}

#define FILL       "img_in.weight[2,384] guidance_in.in_layer.weight double_blocks.0.x*"
#define FILL_D     "x_embedder.weight[2,384] time_text_embed.guidance_embedder.linear_1.weight transformer_blocks.0.x*"
#define DEV        "img_in.weight[2,64] guidance_in.in_layer.weight double_blocks.0.x*"
#define VAE        "encoder.x decoder.mid.attn_1.q.weight[8,8] decoder.conv_in.weight[8,16,3,3]"
#define VAE_D      "encoder.x decoder.mid_block.attentions.0.to_q.weight[8,8] decoder.conv_in.weight[8,16,3,3]"
#define VAE_SD     "encoder.x* decoder.mid_block.attentions.0.to_q.weight[8,8] decoder.conv_in.weight[8,4,3,3]"
#define T5         "shared.weight[9,8] encoder.final_layer_norm.weight encoder.block.0.x*"
#define T5_GGUF    "token_embd.weight[9,8] enc.output_norm.weight"
#define CLIP       "text_model.embeddings.token_embedding.weight[9,8]"
#define LORA       "transformer.transformer_blocks.0.attn.to_q.lora_A.weight[4,8] filler*"
#define WHOLE      (struct part_of){ 0 }

/* --- the question --- */

static void expect(const struct model_folder *f, enum model_part part, enum err_code want, const char *text)
{
    struct arena a;
    struct err err = { 0 };
    struct model_found found = { 0 };
    char got[600] = "", message[ERR_MESSAGE_MAX];
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

static struct model_folder folder(const char *name, char dir[256])
{
    temp_folder(name, dir, 256);
    (void)mkdir(dir, 0777);
    return (struct model_folder){ .dir = dir };
}

/* --- neighbours --- */

struct neighbour {
    const char *name, *content; /* tensors of a safetensors file; NULL: by `make` */
    void (*make)(const char *dir, const char *name);
};

static void make_page(const char *dir, const char *name)
{
    char *page = calloc(1, 60000);

    memcpy(page, "<!DOCTYPE html><html>", 21);
    put_bytes(dir, name, page, 60000);
    free(page);
}

static void make_pickle(const char *dir, const char *name)
{
    char *pickle = calloc(1, 60000);

    memcpy(pickle, "PK\x03\x04", 4);
    put_bytes(dir, name, pickle, 60000);
    free(pickle);
}

static void make_empty(const char *dir, const char *name)
{
    put_bytes(dir, name, "", 0);
}

static void make_pipe(const char *dir, const char *name)
{
    char path[512];

    CHECK(mkfifo(in(dir, name, path), 0600) == 0);
}

static void make_link(const char *dir, const char *name)
{
    char path[512];

    CHECK(symlink("/nonexistent/blob", in(dir, name, path)) == 0);
}

static void make_folder(const char *dir, const char *name)
{
    char path[512];

    CHECK(mkdir(in(dir, name, path), 0700) == 0);
}

static void make_iq(const char *dir, const char *name)
{
    put_gguf(dir, name, "flux", "double_blocks.0.img_mod.lin.weight[64,256] " FILL, 16, WHOLE, NO_VOCABULARY);
}

static void make_llama(const char *dir, const char *name)
{
    put_gguf(dir, name, "llama", "token_embd.weight[64,64] x*", 0, WHOLE, NO_VOCABULARY);
}

static void make_dev_gguf(const char *dir, const char *name)
{
    put_gguf(dir, name, "flux", DEV " single_blocks.0.x*", 0, WHOLE, NO_VOCABULARY);
}

static void make_second_part(const char *dir, const char *name)
{
    put_gguf(dir, name, "flux", "double_blocks.9.x* double_blocks.8.x*", 0, (struct part_of){ 1, 2 }, NO_VOCABULARY);
}

static void make_cut_dev(const char *dir, const char *name)
{
    char path[512];

    put_st(dir, name, DEV, 60000);
    CHECK(truncate(in(dir, name, path), 3000) == 0);
}

static void make_index_alone(const char *dir, const char *name)
{
    put_text(dir, name, "{\"weight_map\":{\"x_embedder.weight\":\"diffusion_pytorch_model-00001-of-00003.safetensors\"}}");
}

static const struct neighbour neighbours[] = {
    { "flux1-dev.safetensors", DEV, NULL },
    { "flux1-dev-Q8_0.gguf", NULL, make_dev_gguf },
    { "flux1-schnell.safetensors", "img_in.weight[2,64] double_blocks.0.x*", NULL },
    { "flux1-canny.safetensors", "img_in.weight[2,128] guidance_in.in_layer.weight x*", NULL },
    { "flux2.safetensors", "img_in.weight[2,128] double_stream_modulation_img.lin.weight[8,8] x*", NULL },
    { "chroma.safetensors", "img_in.weight[2,64] distilled_guidance_layer.in_proj.weight[8,8] x*", NULL },
    { "qwen.safetensors", "img_in.weight[2,64] txt_norm.weight transformer_blocks.0.x*", NULL },
    { "sd15.safetensors", "model.diffusion_model.input_blocks.0.0.weight[8,4,3,3] x*", NULL },
    { "removal-lora.safetensors", LORA, NULL },
    { "flux1-fill-nf4.safetensors", FILL " double_blocks.0.y.weight.absmax double_blocks.0.y.weight.quant_map", NULL },
    { "svdq-int4-fill.safetensors", FILL_D " transformer_blocks.0.y.wscales transformer_blocks.0.y.qweight[8,8]", NULL },
    { "flux1-fill-IQ2_XXS.gguf", NULL, make_iq },
    { "llama.gguf", NULL, make_llama },
    { "controlnet.safetensors", FILL_D " controlnet_blocks.0.weight[8,8]", NULL },
    { "unknown.safetensors", "something.weight[8,8] x*", NULL },
    { "flux1-fill-dev-page.gguf", NULL, make_page },
    { "page.safetensors", NULL, make_page },
    { "flux1-fill-dev.ckpt", NULL, make_pickle },
    { "pickle.safetensors", NULL, make_pickle },
    { "empty.gguf", NULL, make_empty },
    { "empty.safetensors", NULL, make_empty },
    { "pipe.gguf", NULL, make_pipe },
    { "pipe.safetensors", NULL, make_pipe },
    { "link.gguf", NULL, make_link },
    { "folder.gguf", NULL, make_folder },
    { "x-00002-of-00002.gguf", NULL, make_second_part },
    { "x-00002-of-00002.safetensors", FILL, NULL },
    { "renamed-part.gguf", NULL, make_second_part },
    { "flux1-dev-cut.safetensors", NULL, make_cut_dev },
    { "flux1-fill-dev.safetensors.part", NULL, make_page },
    { "unet/flux1-dev.safetensors", DEV, NULL },
    { "transformer/diffusion_pytorch_model.safetensors.index.json", NULL, make_index_alone },
    { "vae/diffusion_pytorch_model.safetensors", VAE_SD, NULL },
    { "text_encoders/umt5.safetensors", T5 " encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight", NULL },
    { "t5xxl_svdq.safetensors", T5 " encoder.block.0.y.wscales", NULL },
    { "clip/clip_g.safetensors", "text_model.embeddings.token_embedding.weight[2,1280] x*", NULL },
    { "prompts-old.safetensors", "prompt_embeds[9,8] pooled_prompt_embeds x*", NULL },
};
enum { N_NEIGHBOURS = sizeof neighbours / sizeof *neighbours };

static void add(const char *dir, const struct neighbour *n)
{
    if (n->make)
        n->make(dir, n->name);
    else
        put_st(dir, n->name, n->content, 20000);
}

static void expect_all(const struct model_folder *f, const char *transformer)
{
    expect(f, MODEL_TRANSFORMER, ERR_OK, transformer);
    expect(f, MODEL_VAE, ERR_OK, "/vae/my-vae.safetensors");
    expect(f, MODEL_T5, ERR_OK, "/my-t5.safetensors");
    expect(f, MODEL_CLIP, ERR_OK, "/my-clip.safetensors");
}

/* One after the other comes to whole files: the choice is the same as without them. */
TEST(model_folder__no_neighbour_stops_the_start)
{
    static const char *const fills[] = { "/a.gguf", "/a.safetensors" };

    for (int i = 0; i < 2; i++) {
        char dir[256], name[32];
        struct model_folder f;

        (void)snprintf(name, sizeof name, "near-%d", i);
        f = folder(name, dir);
        if (i)
            put_st(dir, "a.safetensors", FILL, 8);
        else
            put_gguf(dir, "a.gguf", "flux", FILL, 0, WHOLE, NO_VOCABULARY);
        put_st(dir, "vae/my-vae.safetensors", VAE, 8);
        put_st(dir, "my-t5.safetensors", T5, 8);
        put_st(dir, "my-clip.safetensors", CLIP, 8);
        for (int k = 0; k < N_NEIGHBOURS; k++) {
            add(dir, &neighbours[k]);
            expect_all(&f, fills[i]);
        }
    }
}

/* Without the one that is needed, each is named, with what it is. */
TEST(model_folder__a_refusal_says_what_was_seen)
{
    static const struct {
        int neighbour;
        const char *text;
    } cases[] = {
        { 0, "flux1-dev.safetensors is FLUX.1-dev, Kontext or Krea: it has 64 input channels, Fill has 384; take a "
             "file of FLUX.1-Fill-dev" },
        { 2, "flux1-schnell.safetensors is FLUX.1-schnell" },
        { 8, "removal-lora.safetensors is a LoRA: it changes a transformer and is not one itself; name it in LORAS" },
        { 9, "flux1-fill-nf4.safetensors is FLUX.1-Fill in 4-bit values of bitsandbytes (NF4)" },
        { 11, "flux1-fill-IQ2_XXS.gguf is FLUX.1-Fill in values of a type that is not read here (IQ2_XXS)" },
        { 15, "flux1-fill-dev-page.gguf is a web page or XML; fetch a GGUF or safetensors file in its place" },
        { 17, "flux1-fill-dev.ckpt is no file of tensors (a pickle of PyTorch)" },
        { 19, "empty.gguf is an unfinished download (empty)" },
        { 21, "pipe.gguf is no file of tensors (a pipe)" },
        { 23, "link.gguf cannot be read" },
        { 26, "x-00002-of-00002.safetensors is FLUX.1-Fill, but one of several files of a model" },
        { 29, "flux1-fill-dev.safetensors.part is an unfinished download" },
        { 30, "unet/flux1-dev.safetensors is FLUX.1-dev" },
        { 31, "only the index of its files is there" },
    };
    char dir[256];
    struct model_folder f;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[32];

        (void)snprintf(name, sizeof name, "r%zu", i);
        f = folder(name, dir);
        add(dir, &neighbours[cases[i].neighbour]);
        put_st(dir, "ae.safetensors", VAE, 8); /* the other parts are not worth a word */
        expect(&f, MODEL_TRANSFORMER, ERR_NOT_FOUND, cases[i].text);
    }
    f = folder("all", dir);
    for (int k = 0; k < N_NEIGHBOURS; k++)
        if (k != 32)
            add(dir, &neighbours[k]);
    expect(&f, MODEL_TRANSFORMER, ERR_NOT_FOUND, " more");
    expect(&f, MODEL_T5, ERR_NOT_FOUND, "t5xxl_svdq.safetensors is a T5 encoder in nunchaku's SVDQuant");
    expect(&f, MODEL_CLIP, ERR_NOT_FOUND, "another CLIP (CLIP-G, 1280 wide)");
    expect(&f, MODEL_VAE, ERR_NOT_FOUND, "looked for ae.safetensors");
}

/* --- layouts --- */

#define INDEX_OF_TWO                                                                                         \
    "{\"metadata\":{\"total_size\":0},\"weight_map\":{"                                                      \
    "\"x_embedder.weight\":\"diffusion_pytorch_model-00001-of-00002.safetensors\","                          \
    "\"time_text_embed.guidance_embedder.linear_1.weight\":\"diffusion_pytorch_model-00001-of-00002.safetensors\"," \
    "\"transformer_blocks.0.x\":\"diffusion_pytorch_model-00002-of-00002.safetensors\"}}"

static void put_diffusers_transformer(const char *dir, const char *sub, int filler)
{
    char name[256];

    (void)snprintf(name, sizeof name, "%s/diffusion_pytorch_model-00001-of-00002.safetensors", sub);
    put_st(dir, name, "x_embedder.weight[2,384] time_text_embed.guidance_embedder.linear_1.weight", filler);
    (void)snprintf(name, sizeof name, "%s/diffusion_pytorch_model-00002-of-00002.safetensors", sub);
    put_st(dir, name, "transformer_blocks.0.x*", filler);
    (void)snprintf(name, sizeof name, "%s/diffusion_pytorch_model.safetensors.index.json", sub);
    put_text(dir, name, INDEX_OF_TWO);
}

static void put_official(const char *dir)
{
    put_diffusers_transformer(dir, "transformer", 100);
    put_st(dir, "vae/diffusion_pytorch_model.safetensors", VAE_D, 8);
    put_st(dir, "text_encoder/model.safetensors", CLIP, 8);
    put_st(dir, "text_encoder_2/model-00001-of-00002.safetensors", "shared.weight[9,8]", 8);
    put_st(dir, "text_encoder_2/model-00002-of-00002.safetensors", "encoder.final_layer_norm.weight", 8);
    put_text(dir, "text_encoder_2/model.safetensors.index.json",
             "{\"weight_map\":{\"shared.weight\":\"model-00001-of-00002.safetensors\","
             "\"encoder.final_layer_norm.weight\":\"model-00002-of-00002.safetensors\"}}");
}

static void expect_official(const struct model_folder *f, const char *transformer)
{
    expect(f, MODEL_TRANSFORMER, ERR_OK, transformer);
    expect(f, MODEL_VAE, ERR_OK, "/vae/diffusion_pytorch_model.safetensors");
    expect(f, MODEL_CLIP, ERR_OK, "/text_encoder/model.safetensors");
    expect(f, MODEL_T5, ERR_OK, "/text_encoder_2/model.safetensors.index.json");
}

/* Of two layouts of the same weights the single file is taken, whichever header is longer. */
TEST(model_folder__the_official_repository_is_read_as_it_is)
{
    static const char index[] = "/transformer/diffusion_pytorch_model.safetensors.index.json";
    char dir[256], path[512];
    struct model_folder f = folder("official", dir);

    put_official(dir);
    expect_official(&f, index);
    put_st(dir, "flux1-fill-dev.safetensors", FILL, 100);
    expect_official(&f, "/flux1-fill-dev.safetensors");
    put_st(dir, "flux1-fill-dev.safetensors", FILL, 99);
    expect_official(&f, index);
    f.transformer = "flux1-fill-dev";
    expect_official(&f, "/flux1-fill-dev.safetensors");
    f.transformer = "transformer";
    expect_official(&f, index);
    f.transformer = "transformer/diffusion_pytorch_model.safetensors.index.json";
    expect_official(&f, index);
    f.transformer = "transformer/diffusion_pytorch_model-00001-of-00002.safetensors";
    expect(&f, MODEL_TRANSFORMER, ERR_INVALID, "name the *.index.json or the first file");
    f.transformer = NULL;
    CHECK(unlink(in(dir, "transformer/diffusion_pytorch_model-00002-of-00002.safetensors", path)) == 0);
    expect(&f, MODEL_TRANSFORMER, ERR_CORRUPT, "transformer/diffusion_pytorch_model.safetensors.index.json is FLUX.1-Fill, unfinished");
    put_gguf(dir, "small.gguf", "flux", FILL, 0, WHOLE, NO_VOCABULARY);
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/small.gguf"); /* GGUF comes before safetensors */
}

/* The cache keeps links to blobs in snapshots/HASH. */
TEST(model_folder__a_snapshot_of_the_download_cache_is_a_model_folder)
{
    char root[256], dir[320], from[512], to[512];
    struct model_folder f = folder("models--x--FLUX.1-Fill-dev", root);

    (void)snprintf(dir, sizeof dir, "%s/snapshots/0123", root);
    f.dir = dir;
    put_official(dir);
    CHECK(rename(in(dir, "vae/diffusion_pytorch_model.safetensors", from), in(root, "blobs/aa", to)) == 0);
    CHECK(symlink("../../../blobs/aa", from) == 0);
    CHECK(rename(in(dir, "transformer/diffusion_pytorch_model-00001-of-00002.safetensors", from),
                 in(root, "blobs/bb", to)) == 0);
    CHECK(symlink("../../../blobs/bb", from) == 0);
    expect_official(&f, "/transformer/diffusion_pytorch_model.safetensors.index.json");
    CHECK(unlink(to) == 0); /* an interrupted download: the link is there, the blob is not */
    expect(&f, MODEL_TRANSFORMER, ERR_NOT_FOUND, "diffusion_pytorch_model.safetensors.index.json");
}

TEST(model_folder__comfyui_s_folders_are_looked_at)
{
    char dir[256];
    struct model_folder f = folder("comfy", dir);

    put_st(dir, "unet/flux1-fill-dev.safetensors", FILL, 100);
    put_gguf(dir, "unet/flux1-fill-dev-Q4_K_S.gguf", "flux", FILL, 0, WHOLE, NO_VOCABULARY);
    put_st(dir, "diffusion_models/flux1-dev.safetensors", DEV, 2000);
    put_st(dir, "checkpoints/sd15.safetensors", "model.diffusion_model.input_blocks.0.0.weight[8,4,3,3] x*", 2000);
    put_st(dir, "vae/ae.safetensors", VAE, 8);
    put_st(dir, "vae/sdxl_vae.safetensors", VAE_SD, 2000);
    put_st(dir, "clip/clip_l.safetensors", CLIP, 8);
    put_st(dir, "text_encoders/t5xxl_fp16.safetensors", T5, 80);
    put_st(dir, "clip/t5xxl_fp8_e4m3fn.safetensors", T5, 40);
    put_st(dir, "loras/removal.safetensors", LORA, 2000);
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/unet/flux1-fill-dev-Q4_K_S.gguf");
    expect(&f, MODEL_VAE, ERR_OK, "/vae/ae.safetensors");
    expect(&f, MODEL_CLIP, ERR_OK, "/clip/clip_l.safetensors");
    expect(&f, MODEL_T5, ERR_OK, "/text_encoders/t5xxl_fp16.safetensors");
    f.transformer = "unet/flux1-fill-dev.safetensors";
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/unet/flux1-fill-dev.safetensors");
    f.transformer = "flux1-fill-dev"; /* the GGUF has another name */
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/unet/flux1-fill-dev.safetensors");
    f.transformer = "unet";
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/unet/flux1-fill-dev-Q4_K_S.gguf");
    f.transformer = "diffusion_models/flux1-dev.safetensors";
    expect(&f, MODEL_TRANSFORMER, ERR_UNSUPPORTED, "flux1-dev.safetensors is FLUX.1-dev, Kontext or Krea: it has 64");
    f.relatives_too = true;
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/diffusion_models/flux1-dev.safetensors");
    f.relatives_too = false;
    f.transformer = "vae/ae.safetensors";
    expect(&f, MODEL_TRANSFORMER, ERR_NOT_FOUND, "vae/ae.safetensors is FLUX.1's autoencoder, which is not FLUX.1-Fill");
}

/* Whatever is found by content is found by its name, too. */
TEST(model_folder__a_transformer_is_named_without_its_folder_and_ending)
{
    static const struct {
        const char *name, *file;
    } cases[] = {
        { "one", "one.sft" },
        { "two", "split_files/diffusion_models/two.safetensors" },
        { "three.gguf", "text_encoders/three.gguf" },
        { "diffusion_pytorch_model", "transformer/diffusion_pytorch_model.safetensors.index.json" },
    };
    char dir[256], want[300];
    struct model_folder f = folder("named", dir);

    put_official(dir);
    put_st(dir, cases[0].file, FILL, 100);
    put_st(dir, cases[1].file, FILL, 100);
    put_gguf(dir, cases[2].file, "flux", FILL, 0, WHOLE, NO_VOCABULARY);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f.transformer = cases[i].name;
        (void)snprintf(want, sizeof want, "/%s", cases[i].file);
        expect(&f, MODEL_TRANSFORMER, ERR_OK, want);
    }
}

TEST(model_folder__a_merged_checkpoint_serves_for_what_nothing_else_is_there_for)
{
    char dir[256];
    struct model_folder f = folder("merged", dir);

    put_st(dir, "checkpoints/all-in-one.safetensors",
           "model.diffusion_model.img_in.weight[2,384] model.diffusion_model.guidance_in.in_layer.weight "
           "vae.encoder.x vae.decoder.mid.attn_1.q.weight[8,8] vae.decoder.conv_in.weight[8,16,3,3] "
           "text_encoders.t5xxl.transformer.encoder.final_layer_norm.weight "
           "text_encoders.clip_l.transformer.text_model.embeddings.token_embedding.weight[9,8] filler*",
           9000);
    for (int part = MODEL_TRANSFORMER; part <= MODEL_T5; part++)
        expect(&f, (enum model_part)part, ERR_OK, "/checkpoints/all-in-one.safetensors");
    put_st(dir, "my-vae.safetensors", VAE, 8);
    expect(&f, MODEL_VAE, ERR_OK, "/my-vae.safetensors");
}

/* --- files in several parts --- */

TEST(model_folder__a_gguf_in_several_files_is_one_transformer)
{
    char dir[256], path[512];
    struct model_folder f = folder("split", dir);

    put_gguf(dir, "unet/fill-00001-of-00002.gguf", "flux", "double_blocks.0.x*", 0, (struct part_of){ 0, 2 }, NO_VOCABULARY);
    put_gguf(dir, "unet/fill-00002-of-00002.gguf", "flux", FILL, 0, (struct part_of){ 1, 2 }, NO_VOCABULARY);
    put_gguf(dir, "unet/fill-00001-of-00003.gguf", "flux", "single_blocks.0.x*", 0, (struct part_of){ 0, 3 }, NO_VOCABULARY);
    /* the parts of another split are no part of it; names occur twice in a split of two that hold the same */
    CHECK(unlink(in(dir, "unet/fill-00001-of-00003.gguf", path)) == 0);
    put_gguf(dir, "unet/fill-00001-of-00002.gguf", "flux", "single_blocks.0.x*", 0, (struct part_of){ 0, 2 }, NO_VOCABULARY);
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/unet/fill-00001-of-00002.gguf");
    f.transformer = "fill-00001-of-00002";
    expect(&f, MODEL_TRANSFORMER, ERR_OK, "/unet/fill-00001-of-00002.gguf");
    f.transformer = "unet/fill-00002-of-00002.gguf";
    expect(&f, MODEL_TRANSFORMER, ERR_INVALID, "one of several files of a model");
    f.transformer = NULL;
    CHECK(unlink(in(dir, "unet/fill-00001-of-00002.gguf", path)) == 0);
    expect(&f, MODEL_TRANSFORMER, ERR_NOT_FOUND, "fill-00002-of-00002.gguf is FLUX.1-Fill, but one of several files");
}

/* --- downloads that have not ended --- */

TEST(model_folder__a_download_that_has_not_ended_is_no_model)
{
    static const char *const companions[] = { ".aria2", ".part", ".incomplete" };

    for (int i = 0; i < 3; i++) {
        char dir[256], name[64], path[512];
        struct model_folder f;

        (void)snprintf(name, sizeof name, "download-%d", i);
        f = folder(name, dir);
        (void)snprintf(name, sizeof name, "large.gguf%s", companions[i]);
        put_gguf(dir, "large.gguf", "flux", FILL " single_blocks.0.x*", 0, WHOLE, NO_VOCABULARY);
        expect(&f, MODEL_TRANSFORMER, ERR_OK, "/large.gguf");
        put_text(dir, name, "state");
        expect(&f, MODEL_TRANSFORMER, ERR_CORRUPT, "large.gguf is FLUX.1-Fill, unfinished");
        put_gguf(dir, "small.gguf", "flux", FILL, 0, WHOLE, NO_VOCABULARY);
        expect(&f, MODEL_TRANSFORMER, ERR_CORRUPT, "it is larger than small.gguf");
        CHECK(unlink(in(dir, name, path)) == 0);
        expect(&f, MODEL_TRANSFORMER, ERR_OK, "/large.gguf");
    }
}

/* Where the header itself is cut off, the name says which part is in doubt; one that says nothing may be any. */
TEST(model_folder__what_cannot_be_read_stops_the_part_that_its_name_speaks_of)
{
    static const struct {
        const char *name;
        bool stops[4]; /* transformer, VAE, CLIP, T5 */
    } cases[] = {
        { "t5xxl_fp16.safetensors", { false, false, false, true } },
        { "text_encoders/t5xxl.gguf", { false, false, false, true } },
        { "clip/clip_l-other.safetensors", { false, false, true, false } },
        { "vae/any.safetensors", { false, true, false, false } },
        { "loras/flux-fill.safetensors", { false, false, false, false } },
        { "flux-fill-lora.safetensors", { false, false, false, false } },
        { "flux1-fill-dev.safetensors", { true, false, false, false } },
        { "unet/any.safetensors", { true, false, false, false } },
        { "any.safetensors", { true, false, false, false } },
        { "any.gguf", { true, false, false, true } },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const char header[] = "\x00\x10\x00\x00\x00\x00\x00\x00{\"img_in.weight\":{\"dtype\":";
        char dir[256], name[32];
        struct model_folder f;

        (void)snprintf(name, sizeof name, "doubt-%zu", i);
        f = folder(name, dir);
        put_st(dir, "a.safetensors", FILL, 8);
        put_st(dir, "my-vae.safetensors", VAE, 8);
        put_st(dir, "my-clip.safetensors", CLIP, 8);
        put_gguf(dir, "my-t5.gguf", "t5encoder", T5_GGUF, 0, WHOLE, NO_VOCABULARY);
        put_bytes(dir, cases[i].name, header, sizeof header - 1);
        for (int part = MODEL_TRANSFORMER; part <= MODEL_T5; part++)
            expect(&f, (enum model_part)part, cases[i].stops[part] ? ERR_CORRUPT : ERR_OK,
                   cases[i].stops[part] ? cases[i].name : "");
    }
}

/* A VAE and a CLIP under their own names are refused when they are not all there, and others do not take their place. */
TEST(model_folder__an_unfinished_part_under_its_own_name_is_named)
{
    char dir[256], path[512];
    struct model_folder f = folder("short", dir);

    put_st(dir, "ae.safetensors", VAE " filler*", 1000);
    CHECK(truncate(in(dir, "ae.safetensors", path), 2000) == 0);
    put_st(dir, "vae/other.safetensors", VAE, 8);
    expect(&f, MODEL_VAE, ERR_CORRUPT, "ae.safetensors is FLUX.1's autoencoder, unfinished");
    put_st(dir, "ae.safetensors", VAE_SD, 1000); /* Stable Diffusion's, under this name */
    expect(&f, MODEL_VAE, ERR_OK, "/vae/other.safetensors");
    CHECK(unlink(in(dir, "vae/other.safetensors", path)) == 0);
    expect(&f, MODEL_VAE, ERR_NOT_FOUND, "ae.safetensors is another autoencoder (with 4 latent channels)");
}

/* --- the vocabulary of a T5 --- */

TEST(model_folder__a_vocabulary_without_its_normaliser_is_not_taken)
{
    char dir[256];
    struct model_folder f = folder("vocabulary", dir);

    put_gguf(dir, "t5.gguf", "t5encoder", T5_GGUF " x*", 0, WHOLE, WITHOUT_CHARSMAP);
    expect(&f, MODEL_T5, ERR_OK, "/t5.gguf");
    expect(&f, MODEL_T5_TOKENIZER, ERR_NOT_FOUND,
           "t5.gguf has a vocabulary without precompiled_charsmap; put tokenizer_2/ of the official repository into");
    put_gguf(dir, "text_encoders/t5-small.gguf", "t5encoder", T5_GGUF, 0, WHOLE, WITH_CHARSMAP);
    expect(&f, MODEL_T5_TOKENIZER, ERR_OK, "/text_encoders/t5-small.gguf");
    expect(&f, MODEL_T5, ERR_OK, "/t5.gguf");
    put_text(dir, "tokenizer_2/spiece.model", "x");
    expect(&f, MODEL_T5_TOKENIZER, ERR_OK, "/tokenizer_2/spiece.model");
}

/* --- the list --- */

TEST(model_folder__lists_everything_with_what_it_is)
{
    char dir[256], text[MODEL_FILE_TEXT_SIZE];
    struct model_folder f = folder("list", dir);
    struct model_list list = { 0 };
    struct arena a;
    struct err err = { 0 };
    int n_parts = 0;

    put_official(dir);
    put_st(dir, "loras/a.safetensors", LORA, 8);
    put_st(dir, ".cache/huggingface/x.safetensors", FILL, 8);
    put_text(dir, "README.md", "x");
    for (int k = 0; k < N_NEIGHBOURS; k++)
        if (k != 31 && k != 32)
            add(dir, &neighbours[k]);
    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    CHECK_OK(model_folder_list(&f, &a, &list, &err), err);
    CHECK_INT(list.n, 5 + N_NEIGHBOURS - 2);
    for (int i = 0; i < list.n; i++) {
        const struct model_file *file = &list.files[i];
        char path[512];

        CHECK_STR(file->path, in(dir, file->name, path));
        CHECK(strlen(model_file_text(file, true, text)) > 6 && strlen(model_file_text(file, false, text)) > 6);
        CHECK(file->seen.kind || file->seen.network || !strcmp(file->name, "unknown.safetensors") ||
              file->seen.parts > 1);
        n_parts += file_seen_serves(&file->seen, FILE_FLUX_FILL) || file_seen_serves(&file->seen, FILE_VAE_FLUX) ||
                   file_seen_serves(&file->seen, FILE_T5) || file_seen_serves(&file->seen, FILE_CLIP_L);
    }
    CHECK_INT(n_parts, 4);
    arena_done(&a);
}
