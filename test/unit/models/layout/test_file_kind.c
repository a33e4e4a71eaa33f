#include "models/layout/file_kind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/file/gguf.h"
#include "models/file/name_index.h"
#include "test/support/bytes.h"
#include "test/support/check.h"

enum { ARENA_BYTES = 16 << 20, MAX_TENSORS = 32 };

/* --- files made of words --- */

/* "NAME[d0,d1]|TYPE": without dimensions a vector of 8; with a type, one that is not read here. */
static void parse_tensor(char *word, struct tensor_entry *e)
{
    char *type = strchr(word, '|'), *dims = strchr(word, '[');

    *e = (struct tensor_entry){ .dtype = type ? DT_COUNT : DT_BF16, .n_dims = 1, .dims = { 8 } };
    e->type_name = type ? type + 1 : "BF16";
    if (dims) {
        char *at = dims + 1;

        for (e->n_dims = 0; e->n_dims < TENSOR_FILE_MAX_DIMS && *at && *at != ']'; e->n_dims++) {
            e->dims[e->n_dims] = strtoll(at, &at, 10);
            at += *at == ',';
        }
        *dims = 0;
    }
    if (type)
        *type = 0;
    e->name = span_of(word);
    e->bytes = 2;
    for (int i = 0; i < e->n_dims; i++)
        e->bytes *= (size_t)e->dims[i];
}

static struct tensor_file make(struct arena *a, const char *tensors)
{
    struct tensor_file f = { .path = "made.safetensors" };
    char *text = NULL, *rest = NULL;
    struct err err = { 0 };
    int twice = -1;

    CHECK_OK(span_dup(a, span_of(tensors), &text, &err), err);
    CHECK_OK(arena_alloc(a, MAX_TENSORS, sizeof *f.entries, &f.entries, &err), err);
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        CHECK(f.n_entries < MAX_TENSORS);
        parse_tensor(word, &f.entries[f.n_entries++]);
    }
    CHECK_OK(name_index_build(a, f.entries, f.n_entries, sizeof *f.entries, &f.index, &twice, &err), err);
    CHECK_INT(twice, -1);
    return f;
}

/* The metadata of a GGUF file: architecture, name. */
static struct gguf_meta *meta(struct arena *a, const char *architecture, const char *name)
{
    struct tensor_file f = { 0 };
    struct bytes b = { 0 };
    struct err err = { 0 };
    char *copy = NULL;

    gguf_put_header(&b, 3, 0, name ? 2 : 1);
    gguf_put_text(&b, "general.architecture", architecture);
    if (name)
        gguf_put_text(&b, "general.name", name);
    bytes_pad(&b, 32);
    CHECK_OK(span_dup(a, (struct span){ b.ptr, b.len }, &copy, &err), err);
    CHECK_OK(gguf_parse((struct span){ copy, b.len }, a, &f, &err), err);
    bytes_done(&b);
    return f.gguf;
}

static struct file_seen see(const char *architecture, const char *tensors)
{
    struct arena a;
    struct err err = { 0 };
    struct file_seen seen;
    struct tensor_file f;

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    f = make(&a, tensors);
    if (architecture)
        f.gguf = meta(&a, architecture, NULL);
    file_kind_see(&f, 1, &a, &seen);
    arena_done(&a);
    return seen;
}

/* --- what people have --- */

#define GUIDED  " guidance_in.in_layer.weight[16,256] double_blocks.0.img_attn.qkv.weight[48,16]"
#define BLOCKS  " double_blocks.0.img_attn.qkv.weight[48,16]"
#define D_BLOCKS                                                                                       \
    " context_embedder.weight[16,32] transformer_blocks.0.attn.to_q.weight[16,16]"                     \
    " single_transformer_blocks.0.attn.to_q.weight[16,16]"
#define D_GUIDED D_BLOCKS " time_text_embed.guidance_embedder.linear_1.weight[16,256]"
#define VAE_BFL  "encoder.conv_in.weight[8,3,3,3] decoder.mid.attn_1.q.weight[8,8,1,1]"
#define VAE_DIFF "encoder.conv_in.weight[8,3,3,3] decoder.mid_block.attentions.0.to_q.weight[8,8]"
#define T5_HF    "shared.weight[32128,32] encoder.final_layer_norm.weight"
#define T5_GGUF  "token_embd.weight[32128,32] enc.output_norm.weight enc.blk.0.attn_rel_b.weight[32,4]"
#define CLIP     "text_model.embeddings.token_embedding.weight[49408,768] text_model.embeddings.position_embedding.weight[77,768]"

static const struct {
    const char *architecture, *tensors;
    enum file_kind kind, network; /* network FILE_UNKNOWN: as kind */
    const char *text;             /* a part of name, reason or remedy */
} cases[] = {
    /* Fill */
    { NULL, "img_in.weight[16,384]" GUIDED, FILE_FLUX_FILL, 0, "FLUX.1-Fill" },
    { "flux", "img_in.weight[16,384]" GUIDED, FILE_FLUX_FILL, 0, "FLUX.1-Fill" },
    { "pig", "img_in.weight[16,384,1,1]" GUIDED, FILE_FLUX_FILL, 0, "FLUX.1-Fill" },
    { NULL, "model.diffusion_model.img_in.weight[16,384] model.diffusion_model.double_blocks.0.x model.diffusion_model.guidance_in.in_layer.weight", FILE_FLUX_FILL, 0, "" },
    { NULL, "x_embedder.weight[16,384]" D_GUIDED, FILE_FLUX_FILL, 0, "FLUX.1-Fill" },
    { NULL, "transformer.x_embedder.weight[16,384] transformer.transformer_blocks.0.x transformer.time_text_embed.guidance_embedder.linear_1.weight", FILE_FLUX_FILL, 0, "" },
    { NULL, "module.img_in.weight[16,384] module.double_blocks.0.x module.guidance_in.in_layer.weight", FILE_UNKNOWN, FILE_FLUX_FILL,
      "FLUX.1-Fill under names that are not known here (its names begin with 'module.'): its tensors would" },
    /* an adapter that brings a whole layer, and Fill with a tensor of an adapter beside a layer */
    { NULL, "transformer.x_embedder.weight[16,384] transformer.transformer_blocks.0.attn.to_q.lora_A.weight[4,16] transformer.time_text_embed.guidance_embedder.linear_1.lora_A.weight[4,256]",
      FILE_LORA, 0, "a LoRA" },
    { NULL, "img_in.weight[16,384] double_blocks.0.img_attn.qkv.lora_A.weight[4,16]" GUIDED, FILE_FLUX_FILL, 0, "FLUX.1-Fill" },
    { "clip", "v.patch_embd.weight[8,8] mm.0.weight[8,8]", FILE_CLIP_OTHER, 0, "of images" },
    { NULL, "x_embedder.weight[16,384] transformer_blocks.0.attn.to_q._weight_qdata[16,16] time_text_embed.guidance_embedder.linear_1.weight[16,256]", FILE_INT8, FILE_FLUX_FILL, "torchao" },
    { "flux", "img_in.weight[16,384]|Q4_K" GUIDED, FILE_UNREAD_TYPE, FILE_FLUX_FILL, "Q4_K, in rows that are no whole blocks of it" },
    /* relatives */
    { NULL, "img_in.weight[16,64]" GUIDED, FILE_FLUX_DEV, 0, "64 input channels, Fill has 384; take a file of FLUX.1-Fill-dev" },
    { "flux", "img_in.weight[16,64]" GUIDED, FILE_FLUX_DEV, 0, "FLUX.1-dev, Kontext or Krea" },
    { NULL, "x_embedder.weight[16,64]" D_GUIDED, FILE_FLUX_DEV, 0, "FLUX.1-dev" },
    { NULL, "img_in.weight[16,64]" BLOCKS, FILE_FLUX_SCHNELL, 0, "no guidance" },
    { NULL, "x_embedder.weight[16,64]" D_BLOCKS, FILE_FLUX_SCHNELL, 0, "schnell" },
    { NULL, "img_in.weight[16,128]" GUIDED, FILE_FLUX_CANNY_DEPTH, 0, "128" },
    { NULL, "img_in.weight[16,196]" BLOCKS, FILE_FLEX_2, 0, "196" },
    { NULL, "img_in.weight[16,96]" GUIDED, FILE_FLUX_OTHER, 0, "96 input channels" },
    { NULL, "img_in.weight[16,384]" BLOCKS, FILE_FLUX_OTHER, 0, "384 input channels, no guidance" },
    { NULL, "img_in.weight[16,128] double_stream_modulation_img.lin.weight[48,16]" BLOCKS, FILE_FLUX_2, 0, "FLUX.2" },
    { NULL, "x_embedder.weight[16,128] double_stream_modulation_img.linear.weight[48,16]" D_BLOCKS, FILE_FLUX_2, 0, "FLUX.2" },
    { "flux", "img_in.weight[16,64] distilled_guidance_layer.in_proj.weight[8,8]" BLOCKS, FILE_CHROMA, 0, "Chroma" },
    { NULL, "x_embedder.weight[16,64] distilled_guidance_layer.in_proj.weight[8,8]" D_BLOCKS, FILE_CHROMA, 0, "Chroma" },
    /* other diffusion models */
    { NULL, "img_in.weight[16,64] txt_norm.weight transformer_blocks.0.img_mod.1.weight[8,8]", FILE_OTHER_DIFFUSION, 0, "Qwen-Image" },
    { "qwen_image", "img_in.weight[16,64] txt_norm.weight transformer_blocks.0.img_mod.1.weight[8,8]", FILE_OTHER_DIFFUSION, 0, "Qwen-Image" },
    { NULL, "model.diffusion_model.input_blocks.0.0.weight[8,4,3,3]", FILE_OTHER_DIFFUSION, 0, "Stable Diffusion" },
    { NULL, "conv_in.weight[8,4,3,3] down_blocks.0.x[8,8] add_embedding.linear_1.weight[8,8]", FILE_OTHER_DIFFUSION, 0, "SDXL" },
    { "sd3", "joint_blocks.0.x_block.attn.qkv.weight[8,8]", FILE_OTHER_DIFFUSION, 0, "Stable Diffusion 3" },
    { NULL, "patch_embedding.weight[8,16,1,2,2] blocks.0.cross_attn.q.weight[8,8]", FILE_OTHER_DIFFUSION, 0, "Wan" },
    { NULL, "x_embedder.weight[16,64] cap_embedder.0.weight noise_refiner.0.x", FILE_OTHER_DIFFUSION, 0, "Lumina" },
    { "hyvid", "img_in.proj.weight[8,16,1,2,2] double_blocks.0.x[8,8]", FILE_OTHER_DIFFUSION, 0, "HunyuanVideo" },
    { "sd1", "whatever.weight[8,8]", FILE_OTHER_DIFFUSION, 0, "Stable Diffusion" },
    { NULL, "x_embedder.weight[16,64] time_caption_embed.caption_embedder.0.weight layers.0.attn.to_q.weight[8,8]", FILE_OTHER_DIFFUSION, 0, "Lumina" },
    { NULL, "x_embedder.weight[16,64] time_embed.timestep_embedder.linear_1.weight[8,8]" D_BLOCKS, FILE_OTHER_DIFFUSION, 0, "Bria" },
    { NULL, "img_in.weight[64,64] txt_in.weight[64,32] time_in.in_layer.weight[8,8] blocks.0.gate_proj.weight[8,8]", FILE_UNKNOWN, 0, "unknown" },
    { NULL, "x_embedder.proj.weight[8,16,1,2,2] context_embedder.token_refiner.refiner_blocks.0.x" D_BLOCKS, FILE_OTHER_DIFFUSION, 0, "HunyuanVideo" },
    { NULL, "proj_in.weight[8,8] caption_projection.linear_1.weight[8,8] transformer_blocks.0.x", FILE_OTHER_DIFFUSION, 0, "LTX" },
    { NULL, "joint_transformer_blocks.0.x single_transformer_blocks.0.x context_embedder.weight[8,8]", FILE_OTHER_DIFFUSION, 0, "AuraFlow" },
    { NULL, "patch_embed.proj.weight[8,8,1,1] caption_norm.weight transformer_blocks.0.x", FILE_OTHER_DIFFUSION, 0, "Sana" },
    { NULL, "patch_embed.proj.weight[8,8] patch_embed.text_proj.weight[8,8] transformer_blocks.0.x", FILE_OTHER_DIFFUSION, 0, "CogVideoX" },
    /* text encoders */
    { NULL, T5_HF, FILE_T5, 0, "T5 encoder" },
    { "t5encoder", T5_GGUF, FILE_T5, 0, "T5 encoder" },
    { NULL, "text_encoders.t5xxl.transformer." T5_HF " text_encoders.t5xxl.transformer.encoder.final_layer_norm.weight", FILE_T5, 0, "" },
    { NULL, T5_HF " decoder.final_layer_norm.weight lm_head.weight[32128,32]", FILE_T5_FULL, 0, "decoder" },
    { "t5", T5_GGUF " dec.output_norm.weight", FILE_T5_FULL, 0, "decoder" },
    { "t5encoder", T5_GGUF " enc.blk.1.attn_rel_b.weight[32,4]", FILE_UMT5, 0, "UMT5" },
    { NULL, T5_HF " encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight[32,4]", FILE_UMT5, 0, "Wan" },
    { NULL, "shared.weight[250112,32] encoder.final_layer_norm.weight", FILE_T5_OTHER, 0, "vocabulary of 250112" },
    { NULL, T5_HF " encoder.block.0.layer.1.DenseReluDense.wi.weight[8,8]", FILE_T5_OTHER, 0, "1.0" },
    { "llama", "token_embd.weight[32000,64] blk.0.attn_q.weight[64,64]", FILE_LANGUAGE_MODEL, 0, "llama" },
    { "qwen2vl", "token_embd.weight[32000,64]", FILE_LANGUAGE_MODEL, 0, "qwen2vl" },
    { NULL, "model.layers.0.self_attn.q_proj.weight[8,8] model.layers.0.mlp.gate_proj.weight[8,8]", FILE_LANGUAGE_MODEL, 0, "language model" },
    { NULL, "layers.0.self_attn.q_proj.weight[8,8] layers.0.mlp.gate_proj.weight[8,8]", FILE_LANGUAGE_MODEL, 0, "language model" },
    { NULL, "model.language_model.layers.0.self_attn.q_proj.weight[8,8]", FILE_LANGUAGE_MODEL, 0, "language model" },
    { NULL, "embeddings.patch_embedding.weight[8,3,14,14] encoder.layers.0.x", FILE_CLIP_OTHER, 0, "images" },
    { NULL, CLIP, FILE_CLIP_L, 0, "CLIP-L" },
    { NULL, "embeddings.token_embedding.weight[49408,768]", FILE_CLIP_L, 0, "CLIP-L" },
    { NULL, CLIP " vision_model.embeddings.class_embedding", FILE_CLIP_L, 0, "CLIP-L" },
    { NULL, "text_model.embeddings.token_embedding.weight[49408,1280]", FILE_CLIP_OTHER, 0, "CLIP-G" },
    { NULL, "text_model.embeddings.token_embedding.weight[49408,768] text_model.embeddings.position_embedding.weight[248,768]", FILE_CLIP_OTHER, 0, "248" },
    { NULL, "vision_model.embeddings.patch_embedding.weight[8,3,14,14]", FILE_CLIP_OTHER, 0, "images" },
    /* autoencoders */
    { NULL, VAE_BFL " decoder.conv_in.weight[8,16,3,3]", FILE_VAE_FLUX, 0, "autoencoder" },
    { NULL, VAE_DIFF " decoder.conv_in.weight[8,16,3,3]", FILE_VAE_FLUX, 0, "autoencoder" },
    { NULL, "vae.decoder.mid.attn_1.q.weight[8,8,1,1] vae.encoder.x vae.decoder.conv_in.weight[8,16,3,3]", FILE_VAE_FLUX, 0, "" },
    { NULL, VAE_DIFF " decoder.conv_in.weight[8,4,3,3] post_quant_conv.weight[4,4,1,1]", FILE_VAE_OTHER, 0, "4 latent channels" },
    { NULL, VAE_DIFF " decoder.conv_in.weight[8,32,3,3]", FILE_VAE_OTHER, 0, "32 latent channels" },
    { NULL, "decoder.mid.attn_1.q.weight[8,8,1,1] decoder.conv_in.weight[8,16,3,3]", FILE_VAE_OTHER, 0, "without an encoder" },
    { NULL, "encoder.layers.0.weight[8,3,3,3] decoder.layers.1.weight[8,16,3,3]", FILE_VAE_OTHER, 0, "tiny" },
    { NULL, "encoder.x decoder.conv_in.conv.weight[8,16,3,3,3] decoder.mid_block.attentions.0.to_q.weight[8,8] post_quant_conv.weight[16,16,1,1,1]", FILE_VAE_OTHER, 0, "video" },
    { NULL, "encoder.x decoder.conv_in.weight[8,16,3,3,3] decoder.mid_block.attentions.0.to_qkv.weight[8,8,1,1]", FILE_VAE_OTHER, 0, "Wan" },
    { NULL, "encoder.conv_in.weight[8,3,3,3] decoder.conv_in.weight[8,32,3,3] decoder.up_blocks.0.0.x", FILE_VAE_OTHER, 0, "another autoencoder" },
    { NULL, "decoder.middle.0.residual.0.gamma encoder.middle.0.residual.0.gamma", FILE_VAE_OTHER, 0, "video" },
    /* adapters */
    { NULL, "transformer.transformer_blocks.0.attn.to_q.lora_A.weight[4,16] transformer.transformer_blocks.0.attn.to_q.lora_B.weight[16,4]", FILE_LORA, 0, "LORAS" },
    { NULL, "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight[4,16] lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight[48,4]", FILE_LORA, 0, "a LoRA" },
    { NULL, "double_blocks.0.processor.qkv_lora1.down.weight[4,16] double_blocks.0.processor.qkv_lora1.up.weight[48,4]", FILE_LORA, 0, "a LoRA" },
    { NULL, "img_in.lora_A.weight[4,128] double_blocks.0.img_attn.norm.key_norm.scale", FILE_LORA, 0, "a LoRA" },
    { NULL, "lora_unet_double_blocks_0_img_attn_qkv.lokr_w1[4,4]", FILE_LORA_OTHER, 0, "LoKr" },
    { NULL, "lora_unet_double_blocks_0_img_attn_qkv.hada_w1_a[4,4]", FILE_LORA_OTHER, 0, "LoHa" },
    { NULL, "a.lora_down.weight[4,4] a.lora_up.weight[4,4] a.dora_scale[4,1]", FILE_LORA_OTHER, 0, "DoRA" },
    { NULL, "a.lora_down.weight[4,4] a.lora_up.weight[4,4] a.lora_mid.weight[4,4,3,3]", FILE_LORA_OTHER, 0, "a LoRA of convolutions" },
    { NULL, "lora_unet_double_blocks_0_img_attn_qkv.a1.weight[4,4]", FILE_LORA_OTHER, 0, "GLoRA" },
    { NULL, "x_embedder.weight[16,64] controlnet_blocks.0.weight[8,8]" D_GUIDED, FILE_CONTROLNET, 0, "ControlNet" },
    { NULL, "redux_up.weight[8,8] redux_down.weight[8,8]", FILE_IMAGE_ADAPTER, 0, "Redux" },
    { NULL, "double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight[8,8] ip_adapter_proj_model.proj.weight[8,8]", FILE_IMAGE_ADAPTER, 0, "IP-Adapter" },
    /* encodings */
    { NULL, "img_in.weight[16,384] double_blocks.0.img_attn.qkv.weight.absmax double_blocks.0.img_attn.qkv.weight.quant_map guidance_in.in_layer.weight", FILE_NF4, FILE_FLUX_FILL, "FLUX.1-Fill in 4-bit values" },
    { NULL, "x_embedder.weight[3072,1] x_embedder.weight.quant_state.bitsandbytes__nf4" D_GUIDED, FILE_NF4, FILE_FLUX_OTHER, "NF4" },
    { NULL, "x_embedder.weight[16,384] transformer_blocks.0.mlp_fc1.qweight[8,8]|I8 transformer_blocks.0.mlp_fc1.wscales[1,8] transformer_blocks.0.mlp_fc1.lora_down[8,4]" D_GUIDED, FILE_SVDQUANT, FILE_FLUX_FILL, "nunchaku" },
    { NULL, "img_in.weight[16,384] double_blocks.0.img_attn.qkv.weight_scale_2" GUIDED, FILE_FP4, FILE_FLUX_FILL, "NVFP4" },
    { NULL, "img_in.weight[16,384]|F4_E2M1 guidance_in.in_layer.weight double_blocks.0.x", FILE_FP4, FILE_FLUX_FILL, "F4" },
    { NULL, "x_embedder.weight[16,384] proj_out.weight._data[8,8]|I8 proj_out.weight._scale[8,1]" D_GUIDED, FILE_INT8, FILE_FLUX_FILL, "quanto" },
    { NULL, "encoder.block.0.layer.0.SelfAttention.q.weight[8,8]|I8 encoder.block.0.layer.0.SelfAttention.q.SCB " T5_HF, FILE_INT8, FILE_T5, "8-bit" },
    { "flux", "img_in.weight[16,384] double_blocks.0.img_attn.proj.weight[16,256]|IQ2_XXS guidance_in.in_layer.weight", FILE_UNREAD_TYPE, FILE_FLUX_FILL, "IQ2_XXS" },
    { NULL, "img_in.weight[16,384] odd.flag|BOOL" GUIDED, FILE_FLUX_FILL, 0, "FLUX.1-Fill" },
    { NULL, "img_in.weight[16,384] scaled_fp8 double_blocks.0.img_attn.proj.scale_weight guidance_in.in_layer.weight", FILE_FLUX_FILL, 0, "FLUX.1-Fill" },
    { NULL, "a.qweight[8,8] a.qzeros[8,8] a.scales[8,8] a.g_idx", FILE_GPTQ, FILE_UNKNOWN, "GPTQ" },
    /* several networks */
    { NULL, "model.diffusion_model.img_in.weight[16,384] model.diffusion_model.double_blocks.0.x model.diffusion_model.guidance_in.in_layer.weight vae.decoder.mid.attn_1.q.weight[8,8,1,1] vae.encoder.x vae.decoder.conv_in.weight[8,16,3,3]", FILE_MERGED, FILE_FLUX_FILL, "among them FLUX.1-Fill" },
    { NULL, "model.diffusion_model.input_blocks.0.0.weight[8,4,3,3] first_stage_model.decoder.mid.attn_1.q.weight[8,8,1,1] first_stage_model.encoder.x first_stage_model.decoder.conv_in.weight[8,4,3,3] first_stage_model.post_quant_conv.weight[4,4,1,1]", FILE_MERGED, FILE_OTHER_DIFFUSION, "Stable Diffusion" },
    /* ours, and nobody's */
    { NULL, "prompt_embeds[64,32] pooled_prompt_embeds", FILE_PROMPT_PACK, 0, "prompt pack" },
    { NULL, "0.prompt_embeds[64,32] 0.pooled_prompt_embeds 1.prompt_embeds[64,32]", FILE_PROMPT_PACK, 0, "prompt pack" },
    { NULL, "prompt_embeds[64,32] pooled_prompt_embeds masked_latents[8,8] latents_0[8,8] image_f32[8,8]", FILE_SELF_CHECK, 0, "self-check" },
    { NULL, "something.weight[8,8]", FILE_UNKNOWN, FILE_UNKNOWN, "unknown" },
    { "flux", "something.weight[8,8]", FILE_UNKNOWN, FILE_UNKNOWN, "unknown" },
    { NULL, "", FILE_UNKNOWN, FILE_UNKNOWN, "unknown" },
};

TEST(file_kind__knows_what_people_have_beside_a_model)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum file_kind want = cases[i].network ? cases[i].network : cases[i].kind;
        struct file_seen s = see(cases[i].architecture, cases[i].tensors);
        char name[FILE_TEXT_SIZE], reason[FILE_TEXT_SIZE], remedy[FILE_TEXT_SIZE], all[3 * FILE_TEXT_SIZE + 8];

        (void)snprintf(all, sizeof all, "%s: %s; %s", file_seen_name(&s, name), file_seen_reason(&s, reason),
                       file_seen_remedy(&s, remedy));
        if (cases[i].kind >= FILE_NF4 && !cases[i].network)
            want = FILE_UNKNOWN;
        if (s.kind != cases[i].kind || s.network != want || !strstr(all, cases[i].text))
            test_fail(__FILE__, __LINE__, "%s: kind %d, want %d; network %d, want %d; %s, want %s", cases[i].tensors,
                      s.kind, cases[i].kind, s.network, want, all, cases[i].text);
    }
}

TEST(file_kind__each_has_a_sentence_and_each_that_cannot_be_used_a_reason_and_a_remedy)
{
    for (int k = 0; k < FILE_KIND_COUNT; k++) {
        struct file_seen s = { .kind = (enum file_kind)k, .network = (enum file_kind)k };
        bool useful = k >= FILE_FLUX_FILL && k <= FILE_SELF_CHECK;
        char text[FILE_TEXT_SIZE];

        s.merged = 1ull << FILE_FLUX_FILL;
        CHECK(strlen(file_seen_name(&s, text)) > 3 && strlen(text) < FILE_TEXT_SIZE - 1);
        CHECK_INT(strlen(file_seen_reason(&s, text)) > 3, !useful);
        CHECK(useful || k == FILE_UNKNOWN || strlen(file_seen_remedy(&s, text)) > 3);
    }
}

/* Which parts a file serves, and that a merged one serves several. */
TEST(file_kind__a_merged_checkpoint_serves_for_each_of_its_networks)
{
    struct file_seen s = see(NULL, "model.diffusion_model.img_in.weight[16,384] model.diffusion_model.double_blocks.0.x "
                                   "model.diffusion_model.guidance_in.in_layer.weight "
                                   "vae.decoder.mid.attn_1.q.weight[8,8,1,1] vae.encoder.x vae.decoder.conv_in.weight[8,16,3,3] "
                                   "text_encoders.t5xxl.transformer.encoder.final_layer_norm.weight "
                                   "text_encoders.clip_l.transformer.text_model.embeddings.token_embedding.weight[9,8]"),
                     full = see(NULL, T5_HF " decoder.final_layer_norm.weight"),
                     half = see(NULL, "img_in.weight[16,384]" GUIDED);

    CHECK_INT(s.kind, FILE_MERGED);
    CHECK(file_seen_serves(&s, FILE_FLUX_FILL) && file_seen_serves(&s, FILE_VAE_FLUX));
    CHECK(file_seen_serves(&s, FILE_T5) && file_seen_serves(&s, FILE_CLIP_L));
    CHECK(!file_seen_serves(&s, FILE_PROMPT_PACK));
    CHECK_INT(s.weight_bytes, 2 * (16 * 384 + 8 + 8)); /* of the transformer alone */
    CHECK(file_seen_serves(&full, FILE_T5) && !file_seen_serves(&full, FILE_CLIP_L));
    half.unfinished = true;
    CHECK(file_seen_is(&half, FILE_FLUX_FILL) && !file_seen_serves(&half, FILE_FLUX_FILL));
}

TEST(file_kind__an_unfinished_file_is_still_what_it_is)
{
    struct arena a;
    struct err err = { 0 };
    struct file_seen s;
    struct tensor_file f;
    char name[FILE_TEXT_SIZE];

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    f = make(&a, "img_in.weight[16,384]" GUIDED);
    f.missing_bytes = 12345;
    file_kind_see(&f, 1, &a, &s);
    CHECK_INT(s.kind, FILE_FLUX_FILL);
    CHECK(s.unfinished);
    CHECK_STR(file_seen_name(&s, name), "FLUX.1-Fill, unfinished: 12345 bytes are missing");
    arena_done(&a);
}

TEST(file_kind__metadata_tell_kontext_from_dev)
{
    struct arena a;
    struct err err = { 0 };
    struct file_seen s;
    struct tensor_file f;

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    f = make(&a, "img_in.weight[16,64]" GUIDED);
    f.metadata = SPAN("{\"modelspec.title\":\"Flux.1-Kontext-Dev\"}");
    file_kind_see(&f, 1, &a, &s);
    CHECK_INT(s.kind, FILE_FLUX_KONTEXT);
    f.metadata = SPAN("{\"format\":\"pt\"}");
    file_kind_see(&f, 1, &a, &s);
    CHECK_INT(s.kind, FILE_FLUX_DEV);
    f.gguf = meta(&a, "flux", "Flux.1 Kontext dev");
    file_kind_see(&f, 1, &a, &s);
    CHECK_INT(s.kind, FILE_FLUX_KONTEXT);
    arena_done(&a);
}

/* The files of one model are one directory: what the first lacks may be in the second. */
TEST(file_kind__several_files_are_one_directory)
{
    struct arena a;
    struct err err = { 0 };
    struct file_seen s;
    struct tensor_file files[2];

    CHECK_OK(arena_init(&a, ARENA_BYTES, &err), err);
    files[0] = make(&a, "transformer_blocks.0.attn.to_q.weight[16,16]");
    files[1] = make(&a, "x_embedder.weight[16,384] time_text_embed.guidance_embedder.linear_1.weight[16,256]");
    files[1].missing_bytes = 7;
    file_kind_see(files, 2, &a, &s);
    CHECK_INT(s.kind, FILE_FLUX_FILL);
    CHECK_INT(s.missing_bytes, 7);
    file_kind_see(files, 1, &a, &s);
    CHECK_INT(s.kind, FILE_UNKNOWN);
    file_kind_see(NULL, 0, &a, &s);
    CHECK_INT(s.kind, FILE_UNKNOWN);
    arena_done(&a);
}
