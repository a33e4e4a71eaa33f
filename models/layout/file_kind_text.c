/* file_kind_text - what is said of each kind of file: its name, why it is not used, and what to do. */
#include <stdio.h>

#include "models/layout/file_kind.h"

#define TAKE_FILL  "take a file of FLUX.1-Fill-dev"
#define TAKE_T5    "take the T5-XXL v1.1 encoder that FLUX.1 has (t5xxl_fp16.safetensors, or a T5 encoder GGUF)"
#define TAKE_CLIP  "take CLIP-L (clip_l.safetensors)"
#define TAKE_VAE   "take FLUX.1's autoencoder (ae.safetensors)"
#define TAKE_PLAIN "take the same network in BF16, F16, fp8 or as a GGUF of type Q8_0 or Q4_K"

static const struct {
    const char *name, *reason, *remedy;
} texts[FILE_KIND_COUNT] = {
    [FILE_UNKNOWN] = { "something unknown", "its tensors are of no network that is known here", "" },
    [FILE_FLUX_FILL] = { "FLUX.1-Fill", "", "" },
    [FILE_VAE_FLUX] = { "FLUX.1's autoencoder", "", "" },
    [FILE_T5] = { "a T5 encoder", "", "" },
    [FILE_T5_FULL] = { "T5 with its decoder, which is ignored", "", "" },
    [FILE_CLIP_L] = { "CLIP-L", "", "" },
    [FILE_MERGED] = { "a checkpoint of several networks", "", "" },
    [FILE_PROMPT_PACK] = { "a prompt pack", "", "" },
    [FILE_SELF_CHECK] = { "stored values of a self-check", "", "" },
    [FILE_LORA] = { "a LoRA", "it changes a transformer and is not one itself", "name it in LORAS" },
    [FILE_FLUX_DEV] = { "FLUX.1-dev, Kontext or Krea", "it has 64 input channels, Fill has 384", TAKE_FILL },
    [FILE_FLUX_KONTEXT] = { "FLUX.1-Kontext", "it has 64 input channels, Fill has 384", TAKE_FILL },
    [FILE_FLUX_SCHNELL] = { "FLUX.1-schnell", "it has 64 input channels and no guidance, Fill has 384 and guidance",
                            TAKE_FILL },
    [FILE_FLUX_CANNY_DEPTH] = { "FLUX.1-Canny or -Depth", "it has 128 input channels, Fill has 384", TAKE_FILL },
    [FILE_FLEX_2] = { "Flex.2", "it has 196 input channels, Fill has 384", TAKE_FILL },
    [FILE_FLUX_OTHER] = { "a relative of FLUX.1", "Fill has 384 input channels and guidance", TAKE_FILL },
    [FILE_FLUX_2] = { "FLUX.2", "it is another network than FLUX.1", TAKE_FILL },
    [FILE_CHROMA] = { "Chroma", "it is made from FLUX.1-schnell and has other modulations", TAKE_FILL },
    [FILE_OTHER_DIFFUSION] = { "another diffusion model", "it is not FLUX.1", TAKE_FILL },
    [FILE_UMT5] = { "a UMT5 encoder", "it is the text encoder of Wan and others, not FLUX.1's", TAKE_T5 },
    [FILE_T5_OTHER] = { "another T5", "FLUX.1's is T5 v1.1", TAKE_T5 },
    [FILE_LANGUAGE_MODEL] = { "a language model", "FLUX.1 has T5 and CLIP-L as its text encoders", TAKE_T5 },
    [FILE_CLIP_OTHER] = { "another CLIP", "FLUX.1's is the text encoder of CLIP-L, 768 wide, for 77 tokens",
                          TAKE_CLIP },
    [FILE_VAE_OTHER] = { "another autoencoder", "FLUX.1's has an encoder, a decoder and 16 latent channels", TAKE_VAE },
    [FILE_LORA_OTHER] = { "an adapter that is no plain LoRA", "only plain LoRAs are read", "take a plain LoRA" },
    [FILE_CONTROLNET] = { "a ControlNet", "it steers a transformer and is not one itself", TAKE_FILL },
    [FILE_IMAGE_ADAPTER] = { "an adapter for reference images", "it steers a transformer and is not one itself",
                             TAKE_FILL },
    [FILE_NF4] = { "4-bit values of bitsandbytes (NF4)", "this encoding is not read here", TAKE_PLAIN },
    [FILE_SVDQUANT] = { "nunchaku's SVDQuant", "this encoding is not read here", TAKE_PLAIN },
    [FILE_FP4] = { "4-bit floating point (NVFP4)", "this encoding is not read here", TAKE_PLAIN },
    [FILE_INT8] = { "8-bit values as quanto, torchao or bitsandbytes store them", "this encoding is not read here",
                    TAKE_PLAIN },
    [FILE_GPTQ] = { "GPTQ or AWQ", "this encoding is not read here", TAKE_PLAIN },
    [FILE_UNREAD_TYPE] = { "values of a type that is not read here", "tensors of this type cannot be computed with",
                           TAKE_PLAIN },
    [FILE_SPLIT_PART] = { "one of several files of a model", "a part alone is not a model",
                          "name the *.index.json or the first file, and keep all of them together" },
    [FILE_UNFINISHED] = { "an unfinished download", "it is not all there", "let it end, or remove it" },
    [FILE_FOREIGN] = { "no file of tensors", "a GGUF or safetensors file is needed",
                       "fetch it again, or take it out of the folder" },
    [FILE_UNREADABLE] = { "unreadable", "so nobody knows what it is", "fetch it again, or take it out of the folder" },
};

/* "FLUX.1-Fill in nunchaku's SVDQuant"; "FLUX.1-Fill, one of several files of a model". */
const char *file_seen_name(const struct file_seen *s, char ret[FILE_TEXT_SIZE])
{
    bool two = s->network != s->kind && s->network != FILE_UNKNOWN;
    const char *first = texts[s->kind].name, *link = "", *second = "";
    char missing[64] = "";

    if (two && file_kind_is_encoding(s->kind))
        first = texts[s->network].name, link = " in ", second = texts[s->kind].name;
    else if (two && s->kind == FILE_UNKNOWN)
        first = texts[s->network].name, second = " under names that are not known here";
    else if (two && s->kind == FILE_MERGED)
        link = ", among them ", second = texts[s->network].name;
    else if (two)
        first = texts[s->network].name, link = ", but ", second = texts[s->kind].name;
    if (s->missing_bytes > 0)
        (void)snprintf(missing, sizeof missing, ", unfinished: %lld bytes are missing", (long long)s->missing_bytes);
    else if (s->unfinished && s->kind != FILE_UNFINISHED)
        (void)snprintf(missing, sizeof missing, ", unfinished");
    (void)snprintf(ret, FILE_TEXT_SIZE, "%s%s%s%s%s%s%s", first, link, second, *s->detail ? " (" : "", s->detail,
                   *s->detail ? ")" : "", missing);
    return ret;
}

/* Recognised, but under names that the loader does not know. */
static bool is_renamed(const struct file_seen *s)
{
    return s->kind == FILE_UNKNOWN && s->network != FILE_UNKNOWN;
}

const char *file_seen_reason(const struct file_seen *s, char ret[FILE_TEXT_SIZE])
{
    const char *reason = texts[s->kind].reason;

    if (s->unfinished)
        reason = "it is not all there";
    else if (is_renamed(s))
        reason = "its tensors would not be found";
    else if (s->kind == FILE_MERGED && !file_seen_is(s, FILE_FLUX_FILL))
        reason = "FLUX.1-Fill is not among them";
    (void)snprintf(ret, FILE_TEXT_SIZE, "%s", reason);
    return ret;
}

const char *file_seen_remedy(const struct file_seen *s, char ret[FILE_TEXT_SIZE])
{
    const char *remedy = texts[s->kind].remedy;

    if (s->unfinished)
        remedy = "fetch the rest, or take it out of the folder";
    else if (is_renamed(s))
        remedy = "take the file as it was published";
    else if (s->kind == FILE_MERGED && !file_seen_is(s, FILE_FLUX_FILL))
        remedy = TAKE_FILL;
    (void)snprintf(ret, FILE_TEXT_SIZE, "%s", remedy);
    return ret;
}
