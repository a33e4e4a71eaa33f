#include "models/layout/file_kind.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "models/file/gguf.h"
#include "models/layout/lora_key.h"
#include "models/layout/network_prefixes.h"
#include "models/weights/weight_set.h"

enum { MAX_HAS = 3, MAX_OTHERS = 5, NAME_SIZE = TENSOR_NAME_MAX + 1, NO_CHANNELS = -1 };

/* The files that are looked at, as one directory. */
struct look {
    const struct tensor_file *files;
    int n;
    struct span architecture; /* of a GGUF; empty: none */
};

/* --- clues --- */

/* Networks of one group exclude each other: of each group the first clue that fits is taken. */
enum group { GROUP_TRANSFORMER, GROUP_VAE, GROUP_T5, GROUP_CLIP, GROUP_OURS, GROUP_COUNT };

/* What else stands in front of a network's names: one under these is recognised, but cannot be used. */
static const char *const other_prefixes[GROUP_COUNT][MAX_OTHERS + 1] = {
    [GROUP_TRANSFORMER] = { "module.", "_orig_mod.", "model.", "unet.", "net." },
    [GROUP_VAE] = { "module.", "_orig_mod.", "autoencoder." },
    [GROUP_T5] = { "module.", "text_encoder_2.", "model.", "transformer." },
    [GROUP_CLIP] = { "conditioner.embedders.0.transformer.text_model.", "module.text_model." },
};

/* Those that the loaders know. */
static const char *const *known_prefixes(enum group group)
{
    static const enum network_kind kinds[GROUP_COUNT] = { [GROUP_TRANSFORMER] = NETWORK_TRANSFORMER,
                                                          [GROUP_VAE] = NETWORK_VAE,
                                                          [GROUP_T5] = NETWORK_T5,
                                                          [GROUP_CLIP] = NETWORK_CLIP };
    static const char *const none[] = { NULL };

    return group == GROUP_OURS ? none : network_prefixes(kinds[group]);
}

/* A network is recognised by tensors that all of its files have. A name that ends in '*' stands for any that begins
 * so. In every group the particular come before the general. */
struct clue {
    enum group group;
    enum file_kind kind;
    const char *detail;
    const char *has[MAX_HAS];
};

#define DIFFUSION(detail_, ...)                           \
    {                                                     \
        GROUP_TRANSFORMER, FILE_OTHER_DIFFUSION, detail_, \
        {                                                 \
            __VA_ARGS__                                   \
        }                                                 \
    }

static const struct clue clues[] = {
    { GROUP_TRANSFORMER, FILE_CONTROLNET, NULL, { "controlnet_blocks.*" } },
    { GROUP_TRANSFORMER, FILE_CONTROLNET, NULL, { "controlnet_x_embedder.weight" } },
    { GROUP_TRANSFORMER, FILE_CONTROLNET, NULL, { "control_model.*" } },
    { GROUP_TRANSFORMER, FILE_CONTROLNET, NULL, { "controlnet_down_blocks.*" } },
    { GROUP_TRANSFORMER, FILE_CONTROLNET, NULL, { "control_all_x_embedder.*" } },
    { GROUP_TRANSFORMER, FILE_CONTROLNET, NULL, { "zero_convs.*" } },
    { GROUP_TRANSFORMER, FILE_IMAGE_ADAPTER, "Redux", { "redux_up.weight" } },
    { GROUP_TRANSFORMER, FILE_IMAGE_ADAPTER, "IP-Adapter", { "image_proj.*" } },
    { GROUP_TRANSFORMER, FILE_IMAGE_ADAPTER, "IP-Adapter", { "ip_adapter.*" } },
    { GROUP_TRANSFORMER, FILE_IMAGE_ADAPTER, "IP-Adapter", { "ip_adapter_proj_model.*" } },
    { GROUP_TRANSFORMER, FILE_IMAGE_ADAPTER, "PuLID", { "pulid_ca.*" } },
    { GROUP_TRANSFORMER, FILE_IMAGE_ADAPTER, "PuLID", { "pulid_encoder.*" } },
    { GROUP_TRANSFORMER, FILE_CHROMA, NULL, { "distilled_guidance_layer.*" } },
    { GROUP_TRANSFORMER, FILE_FLUX_2, NULL, { "double_stream_modulation_img.*" } },
    DIFFUSION("Qwen-Image", "txt_norm.weight", "transformer_blocks.*"),
    DIFFUSION("HunyuanVideo", "txt_in.individual_token_refiner.*"),
    DIFFUSION("HunyuanVideo", "context_embedder.token_refiner.*"),
    DIFFUSION("HunyuanVideo", "img_in.proj.weight"),
    DIFFUSION("Lumina or Z-Image", "cap_embedder.*"),
    DIFFUSION("Lumina", "time_caption_embed.*"),
    DIFFUSION("Bria", "x_embedder.weight", "time_embed.timestep_embedder.*"),
    DIFFUSION("HiDream", "double_stream_blocks.*"),
    DIFFUSION("Stable Diffusion 3", "joint_blocks.*"),
    DIFFUSION("Stable Diffusion 3", "pos_embed.proj.weight", "context_embedder.weight", "transformer_blocks.*"),
    DIFFUSION("Wan", "patch_embedding.weight", "blocks.0.cross_attn.*"),
    DIFFUSION("Wan", "patch_embedding.weight", "condition_embedder.*"),
    DIFFUSION("LTX-Video", "patchify_proj.weight"),
    DIFFUSION("LTX-Video", "proj_in.weight", "caption_projection.*", "transformer_blocks.*"),
    DIFFUSION("AuraFlow", "double_layers.*"),
    DIFFUSION("AuraFlow", "joint_transformer_blocks.*"),
    DIFFUSION("PixArt", "adaln_single.*"),
    DIFFUSION("Sana", "patch_embed.proj.weight", "caption_norm.weight"),
    DIFFUSION("Mochi", "patch_embed.proj.weight", "time_embed.pooler.*"),
    DIFFUSION("CogVideoX or CogView", "patch_embed.text_proj.weight"),
    DIFFUSION("Cosmos", "patch_embed.proj.weight", "time_embed.t_embedder.*"),
    DIFFUSION("SDXL", "input_blocks.0.0.weight", "label_emb.0.0.weight"),
    DIFFUSION("Stable Diffusion", "input_blocks.0.0.weight"),
    DIFFUSION("SDXL", "conv_in.weight", "down_blocks.*", "add_embedding.*"),
    DIFFUSION("Stable Diffusion", "conv_in.weight", "down_blocks.*", "time_embedding.*"),
    /* which FLUX.1, its channels say; the last three have diffusers' names */
    { GROUP_TRANSFORMER, FILE_FLUX_OTHER, NULL, { "img_in.weight", "double_blocks.*" } },
    { GROUP_TRANSFORMER, FILE_FLUX_OTHER, NULL, { "img_in.weight", "single_blocks.*" } },
    { GROUP_TRANSFORMER, FILE_FLUX_OTHER, NULL, { "img_in.weight", "guidance_in.*" } },
    { GROUP_TRANSFORMER, FILE_FLUX_OTHER, NULL, { "x_embedder.weight", "transformer_blocks.*" } },
    { GROUP_TRANSFORMER, FILE_FLUX_OTHER, NULL, { "x_embedder.weight", "single_transformer_blocks.*" } },
    { GROUP_TRANSFORMER, FILE_FLUX_OTHER, NULL, { "x_embedder.weight", "time_text_embed.*" } },

    /* or that of another model: by its channels */
    { GROUP_VAE, FILE_VAE_FLUX, NULL, { "decoder.mid.attn_1.q.weight", "decoder.conv_in.weight", "encoder.*" } },
    { GROUP_VAE,
      FILE_VAE_FLUX,
      NULL,
      { "decoder.mid_block.attentions.0.to_q.weight", "decoder.conv_in.weight", "encoder.*" } },
    { GROUP_VAE,
      FILE_VAE_FLUX,
      NULL,
      { "decoder.mid_block.attentions.0.query.weight", "decoder.conv_in.weight", "encoder.*" } },
    { GROUP_VAE, FILE_VAE_OTHER, "of a video model, such as Wan or Qwen-Image", { "decoder.middle.*" } },
    { GROUP_VAE,
      FILE_VAE_OTHER,
      "of a video model, such as Wan or Qwen-Image",
      { "decoder.mid_block.attentions.0.to_qkv.weight" } },
    { GROUP_VAE, FILE_VAE_OTHER, "of a video model", { "decoder.conv_in.conv.weight" } },
    { GROUP_VAE, FILE_VAE_OTHER, "a tiny one for previews", { "decoder.layers.*", "encoder.layers.*" } },
    { GROUP_VAE, FILE_VAE_OTHER, "a tiny one for previews", { "taesd_decoder.*" } },
    { GROUP_VAE, FILE_VAE_OTHER, "without an encoder", { "decoder.mid.attn_1.q.weight" } },
    { GROUP_VAE, FILE_VAE_OTHER, "without an encoder", { "decoder.mid_block.attentions.0.to_q.weight" } },
    { GROUP_VAE, FILE_VAE_OTHER, NULL, { "decoder.conv_in.weight", "encoder.conv_in.weight" } },

    { GROUP_T5,
      FILE_UMT5,
      NULL,
      { "encoder.final_layer_norm.weight", "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight" } },
    { GROUP_T5, FILE_UMT5, NULL, { "enc.output_norm.weight", "enc.blk.1.attn_rel_b.weight" } },
    { GROUP_T5, FILE_T5_OTHER, "of version 1.0", { "encoder.block.0.layer.1.DenseReluDense.wi.weight" } },
    { GROUP_T5, FILE_T5_FULL, NULL, { "encoder.final_layer_norm.weight", "decoder.final_layer_norm.weight" } },
    { GROUP_T5, FILE_T5_FULL, NULL, { "enc.output_norm.weight", "dec.output_norm.weight" } },
    { GROUP_T5, FILE_T5, NULL, { "encoder.final_layer_norm.weight" } },
    { GROUP_T5, FILE_T5, NULL, { "enc.output_norm.weight" } },
    { GROUP_T5, FILE_LANGUAGE_MODEL, NULL, { "layers.0.self_attn.q_proj.weight", "layers.0.mlp.gate_proj.weight" } },
    { GROUP_T5, FILE_LANGUAGE_MODEL, NULL, { "language_model.layers.0.self_attn.q_proj.weight" } },
    { GROUP_T5, FILE_LANGUAGE_MODEL, NULL, { "language_model.model.layers.0.self_attn.q_proj.weight" } },

    { GROUP_CLIP, FILE_CLIP_L, NULL, { "embeddings.token_embedding.weight" } }, /* or another: by its width */
    { GROUP_CLIP, FILE_CLIP_OTHER, "under OpenCLIP's names", { "transformer.resblocks.*" } },
    { GROUP_CLIP, FILE_CLIP_OTHER, "under OpenCLIP's names", { "conditioner.embedders.*" } },
    { GROUP_CLIP, FILE_CLIP_OTHER, "of images", { "vision_model.*" } },
    { GROUP_CLIP, FILE_CLIP_OTHER, "of images", { "embeddings.patch_embedding.weight" } },

    { GROUP_OURS, FILE_SELF_CHECK, NULL, { "masked_latents", "latents_0", "prompt_embeds" } },
    { GROUP_OURS, FILE_PROMPT_PACK, NULL, { "prompt_embeds", "pooled_prompt_embeds" } },
    { GROUP_OURS, FILE_PROMPT_PACK, NULL, { "0.prompt_embeds" } },
};
enum { N_CLUES = sizeof clues / sizeof *clues };

/* A GGUF's architecture excludes networks of which its tensors only have names in common. */
static const struct {
    const char *architecture;
    enum group group;
} architectures[] = {
    { "flux", GROUP_TRANSFORMER }, { "pig", GROUP_COUNT }, { "cow", GROUP_COUNT },
    { "t5encoder", GROUP_T5 },     { "t5", GROUP_T5 },     { "clip", GROUP_CLIP },
    { "vae", GROUP_VAE },
};

static const struct {
    const char *architecture, *detail;
} diffusion_architectures[] = {
    { "sd1", "Stable Diffusion" },
    { "sdxl", "SDXL" },
    { "sd3", "Stable Diffusion 3" },
    { "aura", "AuraFlow" },
    { "hidream", "HiDream" },
    { "cosmos", "Cosmos" },
    { "ltxv", "LTX-Video" },
    { "hyvid", "HunyuanVideo" },
    { "wan", "Wan" },
    { "lumina2", "Lumina" },
    { "qwen_image", "Qwen-Image" },
    { "chroma", "Chroma" },
    { "diffusion", "unnamed" },
};

/* --- names --- */

static bool begins(const struct look *l, const char *text)
{
    for (int f = 0; f < l->n; f++)
        for (int i = 0; i < l->files[f].n_entries; i++)
            if (span_starts(l->files[f].entries[i].name, text))
                return true;
    return false;
}

static const struct tensor_entry *find(const struct look *l, const char *prefix, const char *name)
{
    char full[NAME_SIZE];
    const struct tensor_entry *e = NULL;
    int n = snprintf(full, sizeof full, "%s%s", prefix, name);

    for (int f = 0; f < l->n && !e; f++)
        e = tensor_file_find(&l->files[f], (struct span){ full, (size_t)n });
    return e;
}

static bool has(const struct look *l, const char *prefix, const char *name)
{
    char full[NAME_SIZE];
    size_t n = strlen(name);

    if (name[n - 1] != '*')
        return find(l, prefix, name) != NULL;
    (void)snprintf(full, sizeof full, "%s%.*s", prefix, (int)n - 1, name);
    return begins(l, full);
}

static bool fits(const struct look *l, const char *prefix, const struct clue *c)
{
    for (int i = 0; i < MAX_HAS && c->has[i]; i++)
        if (!has(l, prefix, c->has[i]))
            return false;
    return true;
}

/* Columns of a matrix, also of one stored as [rows, cols, 1, 1]; NO_CHANNELS: no matrix, or none there. */
static int64_t cols_of(const struct tensor_entry *e)
{
    return e && e->n_dims >= 2 ? e->dims[1] : NO_CHANNELS;
}

/* --- one network --- */

/* A network that was recognised. */
struct network {
    const struct clue *clue; /* NULL: none in this group */
    const char *prefix;
    bool usable_names;
    enum file_kind kind;
    char detail[FILE_DETAIL_SIZE];
};

static void say(char detail[FILE_DETAIL_SIZE], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(char detail[FILE_DETAIL_SIZE], const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(detail, FILE_DETAIL_SIZE, fmt, ap);
    va_end(ap);
}

static void judge_flux(const struct look *l, struct network *n)
{
    static const struct {
        int64_t channels;
        bool guided;
        enum file_kind kind;
    } known[] = {
        { 384, true, FILE_FLUX_FILL },        { 64, true, FILE_FLUX_DEV }, { 64, false, FILE_FLUX_SCHNELL },
        { 128, true, FILE_FLUX_CANNY_DEPTH }, { 196, true, FILE_FLEX_2 },  { 196, false, FILE_FLEX_2 },
    };
    int64_t channels = cols_of(find(l, n->prefix, n->clue->has[0]));
    bool guided = has(l, n->prefix, "guidance_in.*") || has(l, n->prefix, "time_text_embed.guidance_embedder.*");

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].channels == channels && known[i].guided == guided)
            n->kind = known[i].kind;
    if (n->kind == FILE_FLUX_OTHER && channels > 0)
        say(n->detail, "%lld input channels%s", (long long)channels, guided ? "" : ", no guidance");
}

/* FLUX.1's autoencoder has 16 latent channels and no convolution between encoder and decoder. */
static void judge_vae(const struct look *l, struct network *n)
{
    const struct tensor_entry *e = find(l, n->prefix, "decoder.conv_in.weight");
    bool between = has(l, n->prefix, "post_quant_conv.weight");

    if (e->n_dims == 4 && e->dims[1] == 16 && !between)
        return;
    n->kind = FILE_VAE_OTHER;
    if (e->n_dims == 4)
        say(n->detail, "with %lld latent channels", (long long)e->dims[1]);
}

static void judge_clip(const struct look *l, struct network *n)
{
    const struct tensor_entry *positions = find(l, n->prefix, "embeddings.position_embedding.weight");
    int64_t width = cols_of(find(l, n->prefix, "embeddings.token_embedding.weight"));

    if (width >= 1024) {
        n->kind = FILE_CLIP_OTHER;
        say(n->detail, "%s%lld wide", width == 1280 ? "CLIP-G, " : "", (long long)width);
    } else if (positions && positions->n_dims == 2 && positions->dims[0] > 77) {
        n->kind = FILE_CLIP_OTHER;
        say(n->detail, "for texts of %lld tokens", (long long)positions->dims[0]);
    }
}

/* mT5 and others have more words. */
static void judge_t5(const struct look *l, struct network *n)
{
    static const char *const tables[] = { "shared.weight", "encoder.embed_tokens.weight", "token_embd.weight" };

    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        const struct tensor_entry *e = find(l, n->prefix, tables[i]);

        if (e && e->n_dims == 2 && e->dims[0] > 40000) {
            n->kind = FILE_T5_OTHER;
            say(n->detail, "with a vocabulary of %lld", (long long)e->dims[0]);
        }
    }
}

static void judge(const struct look *l, struct network *n)
{
    n->kind = n->clue->kind;
    if (n->clue->detail)
        say(n->detail, "%s", n->clue->detail);
    if (n->kind == FILE_FLUX_OTHER)
        judge_flux(l, n);
    else if (n->kind == FILE_VAE_FLUX)
        judge_vae(l, n);
    else if (n->kind == FILE_CLIP_L)
        judge_clip(l, n);
    else if (n->kind == FILE_T5 || n->kind == FILE_T5_FULL)
        judge_t5(l, n);
}

static void look_for(const struct look *l, enum group group, const char *prefix, struct network *ret)
{
    if (*prefix && !begins(l, prefix))
        return;
    for (int i = 0; i < N_CLUES && !ret->clue; i++)
        if (clues[i].group == group && fits(l, prefix, &clues[i])) {
            *ret = (struct network){ .clue = &clues[i], .prefix = prefix };
            judge(l, ret);
        }
}

/* In a merged checkpoint, names without its prefix are another network's. */
static void find_network(const struct look *l, enum group group, struct network *ret)
{
    const char *const *known = known_prefixes(group), *const *others = other_prefixes[group];
    const bool merged = group == GROUP_TRANSFORMER && begins(l, WEIGHT_SET_MERGED_PREFIX);

    if (merged)
        look_for(l, group, WEIGHT_SET_MERGED_PREFIX, ret);
    for (int i = 0; !merged && known[i] && !ret->clue; i++)
        look_for(l, group, known[i], ret);
    if (!merged && !ret->clue)
        look_for(l, group, "", ret);
    ret->usable_names = ret->clue;
    for (int i = 0; !merged && others[i] && !ret->clue; i++)
        look_for(l, group, others[i], ret);
}

/* Whether the architecture of a GGUF allows it to be a network of this group. */
static bool allows(const struct look *l, enum group group)
{
    if (!l->architecture.len)
        return true;
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
        if (span_is(l->architecture, architectures[i].architecture))
            return architectures[i].group == group || architectures[i].group == GROUP_COUNT;
    return false;
}

/* --- adapters and encodings --- */

enum place { CONTAINS, ENDS };

struct mark {
    enum file_kind kind;
    enum place place;
    const char *text;
};

static const struct mark adapter_marks[] = {
    { FILE_IMAGE_ADAPTER, CONTAINS, ".ip_adapter_" },
    { FILE_LORA, CONTAINS, ".lora_A." },
    { FILE_LORA, CONTAINS, ".lora_B." },
    { FILE_LORA, CONTAINS, ".lora_down." },
    { FILE_LORA, CONTAINS, ".lora_up." },
    { FILE_LORA, CONTAINS, ".lora.down." },
    { FILE_LORA, CONTAINS, "_lora.down." },
    { FILE_LORA, CONTAINS, "_lora1.down." },
    { FILE_LORA, CONTAINS, "_lora2.down." },
    { FILE_LORA, CONTAINS, ".lora_linear_layer." },
};

/* In the order in which they are looked for: some have names in common. */
static const struct mark encoding_marks[] = {
    { FILE_SVDQUANT, ENDS, ".wscales" },   { FILE_SVDQUANT, ENDS, ".smooth_factor" },
    { FILE_SVDQUANT, ENDS, ".proj_down" }, { FILE_GPTQ, ENDS, ".qzeros" },
    { FILE_GPTQ, ENDS, ".g_idx" },         { FILE_NF4, ENDS, ".absmax" },
    { FILE_NF4, CONTAINS, ".quant_map" },  { FILE_NF4, CONTAINS, "bitsandbytes__" },
    { FILE_FP4, ENDS, ".weight_scale_2" }, { FILE_INT8, ENDS, ".SCB" },
    { FILE_INT8, ENDS, "._data" },         { FILE_INT8, ENDS, ":_data" },
    { FILE_INT8, ENDS, "_weight_qdata" },
};

static bool is_marked(struct span name, const struct mark *m)
{
    if (m->place == ENDS)
        return span_ends(name, m->text);
    return memmem(name.ptr, name.len, m->text, strlen(m->text)) != NULL;
}

/* Whether the layer that a marked tensor belongs to is in the files, too. */
static bool has_its_layer(const struct look *l, struct span name, const struct mark *m)
{
    const char *at = memmem(name.ptr, name.len, m->text, strlen(m->text));
    char layer[NAME_SIZE];

    (void)snprintf(layer, sizeof layer, "%.*s.weight", at ? (int)(at - name.ptr) : 0, name.ptr);
    return find(l, "", layer) != NULL;
}

/* An adapter may bring some whole layers of the network that it changes, whose names would make it look like that
 * network; most of those that it changes are not there. */
static enum file_kind adapter(const struct look *l)
{
    for (size_t m = 0; m < sizeof adapter_marks / sizeof *adapter_marks; m++)
        for (int f = 0; f < l->n; f++)
            for (int i = 0; i < l->files[f].n_entries; i++) {
                struct span name = l->files[f].entries[i].name;

                if (is_marked(name, &adapter_marks[m]) && !has_its_layer(l, name, &adapter_marks[m]))
                    return adapter_marks[m].kind;
            }
    return FILE_UNKNOWN;
}

static enum file_kind marked(const struct look *l, const struct mark *marks, size_t n)
{
    for (size_t m = 0; m < n; m++)
        for (int f = 0; f < l->n; f++)
            for (int i = 0; i < l->files[f].n_entries; i++)
                if (is_marked(l->files[f].entries[i].name, &marks[m]))
                    return marks[m].kind;
    return FILE_UNKNOWN;
}
#define MARKED(look, marks) marked(look, marks, sizeof(marks) / sizeof *(marks))

/* The kind of adapter that the reader of LoRAs refuses; NULL: none. */
static const char *other_adapter(const struct look *l)
{
    const char *other = NULL;

    for (int f = 0; f < l->n; f++)
        for (int i = 0; i < l->files[f].n_entries && !other; i++)
            other = lora_key_other_kind(l->files[f].entries[i].name);
    return other;
}

/* A network is made of matrices: a flag or a counter of a strange type does no harm in a safetensors file. A GGUF with
 * any tensor of an unknown type cannot be read at all. */
static const char *unread_type(const struct look *l)
{
    for (int f = 0; f < l->n; f++)
        for (int i = 0; i < l->files[f].n_entries; i++) {
            const struct tensor_entry *e = &l->files[f].entries[i];

            if (e->dtype == DT_COUNT && (e->n_dims >= 2 || l->files[f].gguf))
                return e->type_name ? e->type_name : "unknown";
        }
    return NULL;
}

/* A type that is read, but not where a tool has changed a matrix's shape for it and the rows of the real one are
 * shorter than a block. */
static bool is_known_type(const char *name)
{
    for (int t = 0; t < DT_COUNT; t++)
        if (!strcmp(dtype_info((enum dtype)t)->name, name))
            return true;
    return false;
}

static void see_encoding(const struct look *l, struct file_seen *s)
{
    const char *type = unread_type(l);
    enum file_kind kind = MARKED(l, encoding_marks);

    if (!kind && type) {
        kind = !strncmp(type, "F4", 2)                       ? FILE_FP4
               : !strcmp(type, "I8") && !l->architecture.len ? FILE_INT8
                                                             : FILE_UNREAD_TYPE;
        say(s->detail, "%s%s", type, is_known_type(type) ? ", in rows that are no whole blocks of it" : "");
    }
    if (!kind)
        return;
    s->kind = kind;
    if (s->network == FILE_FLUX_OTHER && !type) /* packed values hide its channels */
        s->detail[0] = 0;
}

/* --- the whole --- */

/* Whether the title in a file's metadata has this word, in any case. */
static bool is_titled(const struct look *l, struct arena *scratch, const char *word)
{
    ARENA_SCRATCH(scratch);
    static const char *const keys[] = { "modelspec.title", "modelspec.architecture", "general.name" };
    const char *title = NULL;
    char *copy = NULL;
    struct span text;

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (gguf_string(l->files[0].gguf, keys[i], &text) && text.len < TENSOR_NAME_MAX) {
            if (!span_dup(scratch, text, &copy, NULL) && strcasestr(copy, word))
                return true;
        } else if (l->files[0].metadata.len && !tensor_file_metadata(&l->files[0], keys[i], scratch, &title, NULL) &&
                   strcasestr(title, word))
            return true;
    }
    return false;
}

static int64_t bytes_under(const struct look *l, const char *prefix, const char *start)
{
    char full[NAME_SIZE];
    int64_t bytes = 0;

    (void)snprintf(full, sizeof full, "%s%s", prefix, start);

    for (int f = 0; f < l->n; f++)
        for (int i = 0; i < l->files[f].n_entries; i++)
            if (span_starts(l->files[f].entries[i].name, full))
                bytes += (int64_t)l->files[f].entries[i].bytes;
    return bytes;
}

static void take_network(const struct look *l, const struct network *n, struct file_seen *s)
{
    s->kind = s->network = n->kind;
    memcpy(s->detail, n->detail, sizeof s->detail);
    s->weight_bytes = bytes_under(l, n->prefix, "");
    if (n->kind == FILE_T5_FULL) /* as if it were the encoder alone */
        s->weight_bytes -= bytes_under(l, n->prefix, "decoder.") + bytes_under(l, n->prefix, "dec.") +
                           bytes_under(l, n->prefix, "lm_head.");
    if (n->usable_names || n->kind >= FILE_FLUX_DEV)
        return;
    s->kind = FILE_UNKNOWN;
    say(s->detail, "its names begin with '%s'", n->prefix);
}

/* Several networks: the transformer is the one to talk about. */
static void take_merged(const struct look *l, const struct network networks[GROUP_COUNT], struct file_seen *s)
{
    for (int g = GROUP_COUNT - 1; g >= 0; g--)
        if (networks[g].clue) {
            take_network(l, &networks[g], s);
            s->merged |= networks[g].usable_names ? 1ull << networks[g].kind : 0;
        }
    s->kind = FILE_MERGED;
}

/* A GGUF in which no network was recognised may still say what it is. */
static void ask_architecture(const struct look *l, struct file_seen *s)
{
    for (size_t i = 0; i < sizeof diffusion_architectures / sizeof *diffusion_architectures; i++)
        if (span_is(l->architecture, diffusion_architectures[i].architecture)) {
            s->kind = s->network = FILE_OTHER_DIFFUSION;
            say(s->detail, "%s", diffusion_architectures[i].detail);
            return;
        }
    if (span_is(l->architecture, "clip")) { /* llama.cpp's projectors of images */
        s->kind = s->network = FILE_CLIP_OTHER;
        say(s->detail, "of images");
    } else if (!allows(l, GROUP_TRANSFORMER) && !allows(l, GROUP_T5) && !allows(l, GROUP_VAE)) {
        s->kind = s->network = FILE_LANGUAGE_MODEL;
        say(s->detail, "%.*s", (int)(l->architecture.len < 32 ? l->architecture.len : 32), l->architecture.ptr);
    }
}

static void see_networks(const struct look *l, struct file_seen *s)
{
    struct network networks[GROUP_COUNT] = { 0 };
    const struct network *one = NULL;
    int n = 0;

    for (int g = 0; g < GROUP_COUNT; g++) {
        if (allows(l, (enum group)g))
            find_network(l, (enum group)g, &networks[g]);
        if (networks[g].clue) {
            one = &networks[g];
            n++;
        }
    }
    if (n == 1)
        take_network(l, one, s);
    else if (n > 1)
        take_merged(l, networks, s);
    else if (l->architecture.len)
        ask_architecture(l, s);
}

/* What is no network may be an adapter, and what looks like one may be an adapter with some whole layers. */
static void see_adapter(const struct look *l, struct file_seen *s)
{
    enum file_kind kind = s->network == FILE_CONTROLNET ? FILE_UNKNOWN : adapter(l);
    const char *other = kind || !s->network ? other_adapter(l) : NULL;

    if (other)
        kind = FILE_LORA_OTHER;
    if (!kind || (kind == s->network && !other))
        return;
    s->kind = s->network = kind;
    say(s->detail, "%s", other ? other : "");
}

static void see_tensors(const struct look *l, struct file_seen *s)
{
    s->has_vocabulary = gguf_find(l->files[0].gguf, "tokenizer.ggml.tokens");
    s->has_charsmap = gguf_find(l->files[0].gguf, "tokenizer.ggml.precompiled_charsmap");
    s->parts = 1;
    (void)gguf_int(l->files[0].gguf, "split.count", &s->parts);
    for (int f = 0; f < l->n; f++)
        s->missing_bytes += l->files[f].missing_bytes;
    s->unfinished = s->missing_bytes > 0;
    see_networks(l, s);
    if (s->network == FILE_UNKNOWN || s->network == FILE_FLUX_FILL || s->network >= FILE_FLUX_DEV)
        see_adapter(l, s);
    if (s->network != FILE_LORA)
        see_encoding(l, s);
}

void file_kind_see(const struct tensor_file *files, int n_files, struct arena *scratch, struct file_seen *ret)
{
    struct look l = { .files = files, .n = n_files };
    struct file_seen s = { 0 };

    if (n_files > 0) {
        ARENA_SCRATCH(scratch);

        (void)gguf_string(files[0].gguf, "general.architecture", &l.architecture);
        see_tensors(&l, &s);
        if (s.kind == FILE_FLUX_DEV && is_titled(&l, scratch, "kontext"))
            s.kind = s.network = FILE_FLUX_KONTEXT;
    }
    *ret = s;
}

bool file_kind_is_encoding(enum file_kind kind)
{
    return kind >= FILE_NF4 && kind <= FILE_UNREAD_TYPE;
}

bool file_kind_is_relative_of_fill(enum file_kind kind)
{
    return kind >= FILE_FLUX_DEV && kind <= FILE_FLUX_OTHER;
}

bool file_kind_is_like(enum file_kind kind, enum file_kind part)
{
    switch (part) {
    case FILE_FLUX_FILL:
        return kind >= FILE_FLUX_DEV && kind <= FILE_OTHER_DIFFUSION;
    case FILE_T5:
        return kind >= FILE_UMT5 && kind <= FILE_LANGUAGE_MODEL;
    case FILE_CLIP_L:
        return kind == FILE_CLIP_OTHER;
    case FILE_VAE_FLUX:
        return kind == FILE_VAE_OTHER;
    default:
        return false;
    }
}

static bool is_part(enum file_kind kind, enum file_kind part)
{
    return kind == part || (part == FILE_T5 && kind == FILE_T5_FULL);
}

bool file_seen_is(const struct file_seen *s, enum file_kind part)
{
    if (s->kind != FILE_MERGED)
        return is_part(s->kind, part);
    return (s->merged >> part & 1) || (part == FILE_T5 && (s->merged >> FILE_T5_FULL & 1));
}

bool file_seen_serves(const struct file_seen *s, enum file_kind part)
{
    return file_seen_is(s, part) && !s->unfinished;
}
