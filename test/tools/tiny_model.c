/*
 * tiny_model - writes a complete random FLUX.1-Fill model folder of a few MB, for machines without weights.
 *
 *   tiny-model DIR [SEED]
 *
 * Same layout, names, shapes and file formats as the real model (sections 2.10, 5.4, 7.2, 8.5 of MODEL.md), only small:
 * 2 double + 2 single blocks of 2 heads x 32, T5 and CLIP of two layers, a VAE of widths 32, 32, 64, 64. The weights
 * are random, so the model paints texture. The same seed gives the same bytes.
 *
 *   transformer      flux1-fill-tiny-Q8_0.gguf          matrices of the blocks Q8_0, the rest F32
 *   VAE              ae.safetensors                     BF16, BFL names
 *   CLIP             text_encoder/model.safetensors     F32
 *   T5               text_encoder_2/model.safetensors   BF16
 *   tokenizers       tokenizer/{vocab.json,merges.txt}, tokenizer_2/spiece.model
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/base/arena.h"
#include "kernels/quant.h"
#include "models/file/tensor_file.h"

enum {
    HIDDEN = 64,
    HEAD_DIM = 32,
    MLP = 4 * HIDDEN,
    N_DOUBLE = 2,
    N_SINGLE = 2,
    IN_CHANNELS = 384,
    OUT_CHANNELS = 64,
    SINUSOID = 256,
    T5_WIDTH = 64,
    T5_HEADS = 2,
    T5_FF = 128,
    T5_LAYERS = 2,
    T5_BUCKETS = 32,
    CLIP_WIDTH = 64,
    CLIP_LAYERS = 2,
    CLIP_POSITIONS = 77,
    VAE_LEVELS = 4,
    VAE_LATENT = 16,
    MAX_TENSORS = 512,
    NAME_SIZE = 96,
    GGUF_ALIGNMENT = 32,
    GGUF_F32 = 0,
    GGUF_Q8_0 = 8
};
static const int vae_width[VAE_LEVELS] = { 32, 32, 64, 64 };

/* --- the tensors of one file, collected before it is written --- */

struct part {
    struct arena *arena;
    struct tensor_write t[MAX_TENSORS];
    int n;
    uint64_t rng;
};

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "tiny-model: %s: %s\n", what, why);
    exit(1);
}

static void need(enum err_code rc, const char *what, const struct err *err)
{
    if (rc)
        die(what, err->msg);
}

/* splitmix64: short, and good enough for random weights. */
static double uniform(uint64_t *s)
{
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static float normal(uint64_t *s)
{
    double r = sqrt(-2 * log(1 - uniform(s)));

    return (float)(r * cos(2 * M_PI * uniform(s)));
}

static void *take(struct part *p, size_t n, size_t size)
{
    void *ptr = NULL;
    struct err err = { 0 };

    need(arena_alloc(p->arena, n, size, &ptr, &err), "memory", &err);
    return ptr;
}

struct shape {
    int n_dims;
    int64_t dims[4];
};

#define SHAPE(...) ((struct shape){ (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), { __VA_ARGS__ } })

/* Adds a tensor of values centre + spread * normal, in f32 or rounded to bf16. */
static void add(struct part *p, enum dtype dtype, float centre, float spread, struct shape shape, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
static void add(struct part *p, enum dtype dtype, float centre, float spread, struct shape shape, const char *fmt, ...)
{
    struct tensor_write *t = &p->t[p->n++];
    char *name = take(p, NAME_SIZE, 1);
    int64_t count = 1;
    va_list ap;

    if (p->n > MAX_TENSORS)
        die("tensors", "too many");
    va_start(ap, fmt);
    (void)vsnprintf(name, NAME_SIZE, fmt, ap);
    va_end(ap);
    *t = (struct tensor_write){ .name = name, .dtype = dtype, .n_dims = shape.n_dims };
    for (int i = 0; i < shape.n_dims; i++)
        count *= t->dims[i] = shape.dims[i];
    t->data = take(p, (size_t)count, dtype == DT_F32 ? 4 : 2);
    for (int64_t i = 0; i < count; i++) {
        float v = centre + spread * normal(&p->rng);
        if (dtype == DT_F32)
            ((float *)(uintptr_t)t->data)[i] = v;
        else
            ((uint16_t *)(uintptr_t)t->data)[i] = f32_to_bf16(v);
    }
}

static void add_matrix(struct part *p, enum dtype t, int64_t out, int64_t in, const char *name)
{
    add(p, t, 0, 1 / sqrtf((float)in), SHAPE(out, in), "%s", name);
}

static void add_linear(struct part *p, enum dtype t, int64_t out, int64_t in, const char *name)
{
    add(p, t, 0, 1 / sqrtf((float)in), SHAPE(out, in), "%s.weight", name);
    add(p, t, 0, 0.02F, SHAPE(out), "%s.bias", name);
}

static void add_norm(struct part *p, enum dtype t, int64_t n, const char *name)
{
    add(p, t, 1, 0.1F, SHAPE(n), "%s.weight", name);
    add(p, t, 0, 0.1F, SHAPE(n), "%s.bias", name);
}

static void add_conv(struct part *p, int64_t out, int64_t in, int64_t k, const char *name)
{
    add(p, DT_BF16, 0, 1 / sqrtf((float)(in * k * k)), SHAPE(out, in, k, k), "%s.weight", name);
    add(p, DT_BF16, 0, 0.02F, SHAPE(out), "%s.bias", name);
}

static const char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const char *text(const char *fmt, ...)
{
    static char buf[64][NAME_SIZE]; /* callers hold a few at a time */
    static int next;
    char *b = buf[next++ & 63];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(b, NAME_SIZE, fmt, ap);
    va_end(ap);
    return b;
}

/* --- the four networks --- */

static void flux_tensors(struct part *p)
{
    static const char *const streams[] = { "img", "txt" };
    static const struct {
        const char *name;
        int out, in;
    } embedders[] = {
        { "img_in", HIDDEN, IN_CHANNELS },
        { "txt_in", HIDDEN, T5_WIDTH },
        { "time_in.in_layer", HIDDEN, SINUSOID },
        { "time_in.out_layer", HIDDEN, HIDDEN },
        { "vector_in.in_layer", HIDDEN, CLIP_WIDTH },
        { "vector_in.out_layer", HIDDEN, HIDDEN },
        { "guidance_in.in_layer", HIDDEN, SINUSOID },
        { "guidance_in.out_layer", HIDDEN, HIDDEN },
        { "final_layer.linear", OUT_CHANNELS, HIDDEN },
        { "final_layer.adaLN_modulation.1", 2 * HIDDEN, HIDDEN },
    };

    for (size_t i = 0; i < sizeof embedders / sizeof *embedders; i++)
        add_linear(p, DT_F32, embedders[i].out, embedders[i].in, embedders[i].name);
    for (int i = 0; i < N_DOUBLE; i++)
        for (int s = 0; s < 2; s++) {
            const char *x = streams[s];
            add_linear(p, DT_F32, 6 * HIDDEN, HIDDEN, text("double_blocks.%d.%s_mod.lin", i, x));
            add_linear(p, DT_F32, 3 * HIDDEN, HIDDEN, text("double_blocks.%d.%s_attn.qkv", i, x));
            add(p, DT_F32, 1, 0.1F, SHAPE(HEAD_DIM), "double_blocks.%d.%s_attn.norm.query_norm.scale", i, x);
            add(p, DT_F32, 1, 0.1F, SHAPE(HEAD_DIM), "double_blocks.%d.%s_attn.norm.key_norm.scale", i, x);
            add_linear(p, DT_F32, HIDDEN, HIDDEN, text("double_blocks.%d.%s_attn.proj", i, x));
            add_linear(p, DT_F32, MLP, HIDDEN, text("double_blocks.%d.%s_mlp.0", i, x));
            add_linear(p, DT_F32, HIDDEN, MLP, text("double_blocks.%d.%s_mlp.2", i, x));
        }
    for (int i = 0; i < N_SINGLE; i++) {
        add_linear(p, DT_F32, 3 * HIDDEN, HIDDEN, text("single_blocks.%d.modulation.lin", i));
        add_linear(p, DT_F32, 3 * HIDDEN + MLP, HIDDEN, text("single_blocks.%d.linear1", i));
        add_linear(p, DT_F32, HIDDEN, HIDDEN + MLP, text("single_blocks.%d.linear2", i));
        add(p, DT_F32, 1, 0.1F, SHAPE(HEAD_DIM), "single_blocks.%d.norm.query_norm.scale", i);
        add(p, DT_F32, 1, 0.1F, SHAPE(HEAD_DIM), "single_blocks.%d.norm.key_norm.scale", i);
    }
}

static void t5_tensors(struct part *p, int64_t vocabulary)
{
    static const char *const attention[] = { "q", "k", "v", "o" };

    add(p, DT_BF16, 0, 1, SHAPE(vocabulary, T5_WIDTH), "shared.weight");
    for (int l = 0; l < T5_LAYERS; l++) {
        const char *b = text("encoder.block.%d.layer", l);
        for (int k = 0; k < 4; k++)
            add_matrix(p, DT_BF16, T5_WIDTH, T5_WIDTH, text("%s.0.SelfAttention.%s.weight", b, attention[k]));
        if (l == 0)
            add(p, DT_BF16, 0, 0.5F, SHAPE(T5_BUCKETS, T5_HEADS), "%s.0.SelfAttention.relative_attention_bias.weight",
                b);
        add(p, DT_BF16, 1, 0.1F, SHAPE(T5_WIDTH), "%s.0.layer_norm.weight", b);
        add_matrix(p, DT_BF16, T5_FF, T5_WIDTH, text("%s.1.DenseReluDense.wi_0.weight", b));
        add_matrix(p, DT_BF16, T5_FF, T5_WIDTH, text("%s.1.DenseReluDense.wi_1.weight", b));
        add_matrix(p, DT_BF16, T5_WIDTH, T5_FF, text("%s.1.DenseReluDense.wo.weight", b));
        add(p, DT_BF16, 1, 0.1F, SHAPE(T5_WIDTH), "%s.1.layer_norm.weight", b);
    }
    add(p, DT_BF16, 1, 0.1F, SHAPE(T5_WIDTH), "encoder.final_layer_norm.weight");
}

static void clip_tensors(struct part *p, int64_t vocabulary)
{
    static const char *const attention[] = { "q_proj", "k_proj", "v_proj", "out_proj" };

    add(p, DT_F32, 0, 0.5F, SHAPE(vocabulary, CLIP_WIDTH), "text_model.embeddings.token_embedding.weight");
    add(p, DT_F32, 0, 0.1F, SHAPE(CLIP_POSITIONS, CLIP_WIDTH), "text_model.embeddings.position_embedding.weight");
    for (int l = 0; l < CLIP_LAYERS; l++) {
        const char *b = text("text_model.encoder.layers.%d", l);
        for (int k = 0; k < 4; k++)
            add_linear(p, DT_F32, CLIP_WIDTH, CLIP_WIDTH, text("%s.self_attn.%s", b, attention[k]));
        add_norm(p, DT_F32, CLIP_WIDTH, text("%s.layer_norm1", b));
        add_norm(p, DT_F32, CLIP_WIDTH, text("%s.layer_norm2", b));
        add_linear(p, DT_F32, 4 * CLIP_WIDTH, CLIP_WIDTH, text("%s.mlp.fc1", b));
        add_linear(p, DT_F32, CLIP_WIDTH, 4 * CLIP_WIDTH, text("%s.mlp.fc2", b));
    }
    add_norm(p, DT_F32, CLIP_WIDTH, "text_model.final_layer_norm");
}

static void vae_res_block(struct part *p, int in, int out, const char *name)
{
    add_norm(p, DT_BF16, in, text("%s.norm1", name));
    add_conv(p, out, in, 3, text("%s.conv1", name));
    add_norm(p, DT_BF16, out, text("%s.norm2", name));
    add_conv(p, out, out, 3, text("%s.conv2", name));
    if (in != out)
        add_conv(p, out, in, 1, text("%s.nin_shortcut", name));
}

static void vae_middle(struct part *p, const char *half)
{
    static const char *const attention[] = { "q", "k", "v", "proj_out" };
    int w = vae_width[VAE_LEVELS - 1];

    vae_res_block(p, w, w, text("%s.mid.block_1", half));
    add_norm(p, DT_BF16, w, text("%s.mid.attn_1.norm", half));
    for (int k = 0; k < 4; k++)
        add_conv(p, w, w, 1, text("%s.mid.attn_1.%s", half, attention[k]));
    vae_res_block(p, w, w, text("%s.mid.block_2", half));
}

static void vae_tensors(struct part *p)
{
    int last = VAE_LEVELS - 1, in = vae_width[0];

    add_conv(p, in, 3, 3, "encoder.conv_in");
    for (int i = 0; i <= last; i++) {
        for (int b = 0; b < 2; b++, in = vae_width[i])
            vae_res_block(p, in, vae_width[i], text("encoder.down.%d.block.%d", i, b));
        if (i < last)
            add_conv(p, in, in, 3, text("encoder.down.%d.downsample.conv", i));
    }
    vae_middle(p, "encoder");
    add_norm(p, DT_BF16, in, "encoder.norm_out");
    add_conv(p, 2 * VAE_LATENT, in, 3, "encoder.conv_out");

    add_conv(p, in, VAE_LATENT, 3, "decoder.conv_in");
    vae_middle(p, "decoder");
    for (int i = last; i >= 0; i--) {
        for (int b = 0; b < 3; b++, in = vae_width[i])
            vae_res_block(p, in, vae_width[i], text("decoder.up.%d.block.%d", i, b));
        if (i > 0)
            add_conv(p, in, in, 3, text("decoder.up.%d.upsample.conv", i));
    }
    add_norm(p, DT_BF16, in, "decoder.norm_out");
    add_conv(p, 3, in, 3, "decoder.conv_out");
}

/* --- GGUF version 3 --- */

static void put(FILE *f, const void *data, size_t n)
{
    if (fwrite(data, 1, n, f) != n)
        die("write", strerror(errno));
}
static void put_u32(FILE *f, uint32_t v)
{
    put(f, &v, 4);
}
static void put_u64(FILE *f, uint64_t v)
{
    put(f, &v, 8);
}
static void put_text(FILE *f, const char *s)
{
    put_u64(f, strlen(s));
    put(f, s, strlen(s));
}
static void pad(FILE *f, size_t alignment)
{
    while ((size_t)ftell(f) % alignment)
        put(f, "", 1);
}

static bool is_quantised(const struct tensor_write *t)
{
    return t->n_dims == 2 && (strstr(t->name, "_blocks.") != NULL);
}

static size_t gguf_bytes(const struct tensor_write *t)
{
    size_t n = (size_t)(t->dims[0] * (t->n_dims > 1 ? t->dims[1] : 1));

    return is_quantised(t) ? n / 32 * 34 : n * 4;
}

/* Q8_0: 32 values share a scale d = max|x| / 127, stored as a half; q = round(x / d). The half is cut out of the bits
 * of the float, which requires that d is a normal half; weights of this size ensure it. */
static void put_q8_0(FILE *f, const float *x, size_t n)
{
    for (size_t b = 0; b < n; b += 32) {
        float most = 1e-3F, d;
        union {
            float f;
            uint32_t u;
        } bits;
        uint16_t half;
        int8_t q[32];

        for (size_t i = 0; i < 32; i++)
            most = fmaxf(most, fabsf(x[b + i]));
        bits.f = most / 127;
        half = (uint16_t)((((bits.u >> 23) - 127 + 15) << 10) | ((bits.u >> 13) & 0x3ff));
        d = f16_to_f32(half);
        for (size_t i = 0; i < 32; i++)
            q[i] = (int8_t)fmaxf(-127, fminf(127, roundf(x[b + i] / d)));
        put(f, &half, 2);
        put(f, q, 32);
    }
}

static void write_gguf(const char *path, const struct part *p)
{
    FILE *f = fopen(path, "wb");
    uint64_t offset = 0;

    if (!f)
        die(path, strerror(errno));
    put(f, "GGUF", 4);
    put_u32(f, 3);
    put_u64(f, (uint64_t)p->n);
    put_u64(f, 2);
    put_text(f, "general.architecture");
    put_u32(f, 8); /* string */
    put_text(f, "flux");
    put_text(f, "general.quantization_version");
    put_u32(f, 4); /* u32 */
    put_u32(f, 2);
    for (int i = 0; i < p->n; i++) {
        const struct tensor_write *t = &p->t[i];
        put_text(f, t->name);
        put_u32(f, (uint32_t)t->n_dims);
        for (int d = t->n_dims - 1; d >= 0; d--) /* ne[0] is the contiguous dimension */
            put_u64(f, (uint64_t)t->dims[d]);
        put_u32(f, is_quantised(t) ? GGUF_Q8_0 : GGUF_F32);
        put_u64(f, offset);
        offset += (gguf_bytes(t) + GGUF_ALIGNMENT - 1) / GGUF_ALIGNMENT * GGUF_ALIGNMENT;
    }
    for (int i = 0; i < p->n; i++) {
        const struct tensor_write *t = &p->t[i];
        pad(f, GGUF_ALIGNMENT);
        if (is_quantised(t))
            put_q8_0(f, t->data, (size_t)(t->dims[0] * t->dims[1]));
        else
            put(f, t->data, gguf_bytes(t));
    }
    pad(f, GGUF_ALIGNMENT);
    if (fclose(f))
        die(path, strerror(errno));
}

/* --- tokenizers: letters, digits, punctuation and a few words --- */

static const char *const words[] = { "the",   "a",     "of",   "and", "with",  "background",
                                     "grass", "floor", "wall", "sky", "photo", "clean",
                                     "empty", "scene", "dog",  "cat", "fur",   "natural" };
static const char *const merges[] = { "t h", "th e</w>", "a n",  "an d</w>", "o f</w>", "i n", "o u",    "c a",
                                      "d o", "g r",      "gr a", "f l",      "s k",     "r o", "n d</w>" };

/* One piece of a SentencePiece model: field 1 { 1: text, 2: float score, 3: type }. */
static void put_piece(FILE *f, const char *piece, float score, int type, int *n)
{
    size_t len = strlen(piece);
    unsigned char head[4] = { 0x0a, (unsigned char)(len + 9), 0x0a, (unsigned char)len };
    unsigned char tail[2] = { 0x18, (unsigned char)type };

    put(f, head, 4);
    put(f, piece, len);
    put(f, "\x15", 1);
    put(f, &score, 4);
    put(f, tail, 2);
    (*n)++;
}

static int write_spiece(const char *path)
{
    FILE *f = fopen(path, "wb");
    int n = 0;

    if (!f)
        die(path, strerror(errno));
    put_piece(f, "<pad>", 0, 3, &n);
    put_piece(f, "</s>", 0, 3, &n);
    put_piece(f, "<unk>", 0, 2, &n);
    put_piece(f, "\xe2\x96\x81", -2, 1, &n);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        put_piece(f, text("\xe2\x96\x81%s", words[i]), -4 - 0.1F * (float)i, 1, &n);
    for (int c = 33; c < 127; c++)
        put_piece(f, text("%c", c), -6 - 0.01F * (float)c, 1, &n);
    put(f, "\x12\x02\x18\x01", 4);          /* trainer spec { model_type: unigram } */
    put(f, "\x1a\x0a\x0a\x08identity", 12); /* normaliser spec { name: identity }, without a table */
    if (fclose(f))
        die(path, strerror(errno));
    return n + 100; /* with the 100 sentinels, which are not in the file */
}

/* The code point that stands for a byte in CLIP's vocabulary; `order` gives the byte of each id. */
static void clip_alphabet(int order[256], int code_point[256])
{
    int n = 0, next = 256;

    for (int pass = 0; pass < 2; pass++)
        for (int b = 0; b < 256; b++) {
            bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
            if (printable == (pass == 0)) {
                order[n++] = b;
                code_point[b] = printable ? b : next++;
            }
        }
}

static void put_code_point(FILE *f, int cp)
{
    if (cp == '"' || cp == '\\')
        (void)fprintf(f, "\\%c", cp);
    else if (cp < 128)
        (void)fputc(cp, f);
    else
        (void)fprintf(f, "\\u%04x", (unsigned)cp);
}

static int write_clip_tokenizer(const char *dir)
{
    int n_merges = (int)(sizeof merges / sizeof *merges), order[256], code_point[256], id = 0;
    FILE *f = fopen(text("%s/tokenizer/merges.txt", dir), "w");

    if (!f)
        die(dir, strerror(errno));
    (void)fputs("#version: 0.2\n", f);
    for (int i = 0; i < n_merges; i++)
        (void)fprintf(f, "%s\n", merges[i]);
    if (fclose(f) || !(f = fopen(text("%s/tokenizer/vocab.json", dir), "w")))
        die(dir, strerror(errno));
    clip_alphabet(order, code_point);
    (void)fputc('{', f);
    for (int end = 0; end < 2; end++)
        for (int i = 0; i < 256; i++) {
            (void)fputc('"', f);
            put_code_point(f, code_point[order[i]]);
            (void)fprintf(f, "%s\": %d, ", end ? "</w>" : "", id++);
        }
    for (int i = 0; i < n_merges; i++) {
        const char *gap = strchr(merges[i], ' ');
        (void)fprintf(f, "\"%.*s%s\": %d, ", (int)(gap - merges[i]), merges[i], gap + 1, id++);
    }
    (void)fprintf(f, "\"<|startoftext|>\": %d, \"<|endoftext|>\": %d}\n", id, id + 1);
    if (fclose(f))
        die(dir, strerror(errno));
    return id + 2;
}

/* --- the folder --- */

static void make_dir(const char *path)
{
    if (mkdir(path, 0777) && errno != EEXIST)
        die(path, strerror(errno));
}

static void write_part(const char *path, const struct part *p)
{
    struct err err = { 0 };

    need(safetensors_write(path, p->t, p->n, NULL, 0, &err), path, &err);
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : NULL;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    struct part *flux = calloc(4, sizeof *flux), *vae = flux + 1, *clip = flux + 2, *t5 = flux + 3;
    struct arena arena = { 0 };
    struct err err = { 0 };

    if (!dir || argc > 3) {
        (void)fprintf(stderr, "usage: tiny-model DIR [SEED]\n");
        return 2;
    }
    if (!flux)
        die("memory", "exhausted");
    need(arena_init(&arena, (size_t)64 << 20, &err), "memory", &err);
    for (int i = 0; i < 4; i++)
        flux[i].arena = &arena, flux[i].rng = seed * 1000 + (uint64_t)i;
    make_dir(dir);
    for (int i = 0; i < 4; i++)
        make_dir(text("%s/%s", dir,
                      (const char *const[]){ "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2" }[i]));

    t5_tensors(t5, write_spiece(text("%s/tokenizer_2/spiece.model", dir)));
    clip_tensors(clip, write_clip_tokenizer(dir));
    vae_tensors(vae);
    flux_tensors(flux);
    write_part(text("%s/text_encoder_2/model.safetensors", dir), t5);
    write_part(text("%s/text_encoder/model.safetensors", dir), clip);
    write_part(text("%s/ae.safetensors", dir), vae);
    write_gguf(text("%s/flux1-fill-tiny-Q8_0.gguf", dir), flux);
    arena_done(&arena);
    free(flux);
    return 0;
}
