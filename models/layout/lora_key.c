#include "models/layout/lora_key.h"

#include <stdio.h>

enum { XLABS = 1 << 2, PREFIX_SHIFT = 3, MOST_PREFIXES = 3 };

static const struct {
    const char *end;
    enum lora_role role;
} roles[] = {
    { ".lora_A.weight", LORA_A },
    { ".lora_down.weight", LORA_A },
    { ".lora.down.weight", LORA_A },
    { ".lora_linear_layer.down.weight", LORA_A },
    { ".lora_A", LORA_A },
    { ".lora_B.weight", LORA_B },
    { ".lora_up.weight", LORA_B },
    { ".lora.up.weight", LORA_B },
    { ".lora_linear_layer.up.weight", LORA_B },
    { ".lora_B", LORA_B },
    { ".alpha", LORA_ALPHA },
    { ".lora_B.bias", LORA_B_BIAS },
    { ".lora_up.bias", LORA_B_BIAS },
    { ".diff", LORA_DIFF },
    { ".diff_b", LORA_DIFF_B },
};

/* With the name of an adapter between the two parts. */
static const struct {
    const char *begin, *end;
    enum lora_role role;
} adapter_roles[] = {
    { ".lora_A.", ".weight", LORA_A },
    { ".lora_B.", ".weight", LORA_B },
    { ".lora_B.", ".bias", LORA_B_BIAS },
};

static const char *const plain_ends[] = { ".weight", ".bias", ".scale" };

static const struct {
    const char *part, *kind;
} other_kinds[] = {
    { "dora_scale", "a DoRA" },
    { "lora_magnitude_vector", "a DoRA" },
    { ".lokr_", "a LoKr" },
    { ".hada_", "a LoHa" },
    { ".oft_", "an OFT" },
    { ".lora_mid", "a LoRA of convolutions" },
    { ".a1.weight", "a GLoRA" },
    { ".set_weight", "a control LoRA" },
    { ".reshape_weight", "a control LoRA" },
};

/* In front of names with points, in any number; and of names with underscores, once. */
static const char *const prefixes[] = { "base_model.model.", "model.diffusion_model.", "diffusion_model.",
                                        "transformer.", "unet." };
static const char *const word_prefixes[] = { "lora_unet_", "lora_transformer_", "lycoris_" };

static const char *const text_encoders[] = { "lora_te", "text_encoder", "text_model.",    "te1.",        "te2.",
                                             "clip_l.", "t5xxl.",       "encoder.block.", "lora_clip_l", "lora_t5xxl" };

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct span without_end(struct span s, size_t n)
{
    return (struct span){ s.ptr, s.len - n };
}

static bool begins_with_one_of(struct span s, const char *const *texts, size_t n, size_t *ret_len)
{
    for (size_t i = 0; i < n; i++)
        if (span_starts(s, texts[i])) {
            *ret_len = strlen(texts[i]);
            return true;
        }
    return false;
}

/* ".lora_A.NAME.weight", with an adapter's name that has no point. */
static bool take_adapter_role(struct span name, struct lora_key *k)
{
    for (size_t i = 0; i < COUNT(adapter_roles); i++) {
        struct span rest = name;

        if (!span_ends(name, adapter_roles[i].end))
            continue;
        rest = without_end(rest, strlen(adapter_roles[i].end));
        while (rest.len && rest.ptr[rest.len - 1] != '.')
            rest.len--;
        if (span_ends(rest, adapter_roles[i].begin)) {
            k->layer = without_end(rest, strlen(adapter_roles[i].begin));
            k->role = adapter_roles[i].role;
            return true;
        }
    }
    return false;
}

static void take_role(struct span name, struct lora_key *k)
{
    k->layer = name;
    k->role = LORA_NO_ROLE;
    for (size_t i = 0; i < COUNT(roles); i++)
        if (span_ends(name, roles[i].end)) {
            k->layer = without_end(name, strlen(roles[i].end));
            k->role = roles[i].role;
            return;
        }
    if (take_adapter_role(name, k))
        return;
    for (size_t i = 0; i < COUNT(plain_ends); i++)
        if (span_ends(name, plain_ends[i])) {
            k->layer = without_end(name, strlen(plain_ends[i]));
            k->role = LORA_PLAIN;
        }
}

/* The names that XLabs' trainer gives the layers of attention, and those of the matrices. */
static const struct {
    const char *processor, *module;
    bool attention_only;
} xlabs[] = {
    { "processor.qkv_lora1", "img_attn.qkv", false }, { "processor.proj_lora1", "img_attn.proj", false },
    { "processor.qkv_lora2", "txt_attn.qkv", false }, { "processor.proj_lora2", "txt_attn.proj", false },
    { "processor.qkv_lora", "linear1", true },        { "processor.proj_lora", "linear2", false },
};

static bool read_xlabs(struct span path, struct lora_key *k)
{
    char name[FLUX_MODULE_MAX + 1];

    for (size_t i = 0; i < COUNT(xlabs); i++) {
        struct span block;
        int n;

        if (!span_ends(path, xlabs[i].processor))
            continue;
        block = without_end(path, strlen(xlabs[i].processor));
        n = snprintf(name, sizeof name, "%.*s%s", SPAN_ARG(block), xlabs[i].module);
        if (n < 0 || (size_t)n >= sizeof name || !flux_names_module(span_of(name), FLUX_NAMING_BFL, false, &k->module))
            return false;
        k->attention_only = xlabs[i].attention_only;
        k->style = XLABS;
        return true;
    }
    return false;
}

/* ".down.weight" alone is a part of a LoRA only in XLabs' names. */
static bool take_xlabs(struct span path, struct lora_key *k)
{
    static const struct {
        const char *end;
        enum lora_role role;
    } ends[] = { { ".down", LORA_A }, { ".up", LORA_B } };

    for (size_t i = 0; i < COUNT(ends); i++)
        if (k->role == LORA_PLAIN && span_ends(path, ends[i].end) &&
            read_xlabs(without_end(path, strlen(ends[i].end)), k)) {
            k->role = ends[i].role;
            k->layer = without_end(k->layer, strlen(ends[i].end));
            k->path = without_end(path, strlen(ends[i].end));
            return true;
        }
    return false;
}

static bool read_module(struct span path, bool underscores, struct lora_key *k)
{
    for (enum flux_naming naming = FLUX_NAMING_BFL; naming < FLUX_NAMING_COUNT; naming++)
        if (flux_names_module(path, naming, underscores, &k->module)) {
            k->style = (int)naming | (underscores ? 2 : 0);
            k->path = path;
            return true;
        }
    return !underscores && take_xlabs(path, k);
}

void lora_key_read(struct span name, struct lora_key *ret)
{
    struct lora_key k = { .place = LORA_ELSEWHERE };
    struct span path;
    size_t n = 0;
    bool word;

    take_role(name, &k);
    path = k.layer;
    word = begins_with_one_of(path, word_prefixes, COUNT(word_prefixes), &n);
    for (int i = 0; i < MOST_PREFIXES && (word ? i == 0 : begins_with_one_of(path, prefixes, COUNT(prefixes), &n)); i++)
        path = (struct span){ path.ptr + n, path.len - n };
    if (begins_with_one_of(path, text_encoders, COUNT(text_encoders), &n)) {
        k.place = LORA_TEXT_ENCODER;
    } else if (read_module(path, word, &k)) {
        k.place = LORA_TRANSFORMER;
        k.style |= (int)(path.ptr - name.ptr) << PREFIX_SHIFT;
    }
    *ret = k;
}

const char *lora_key_other_kind(struct span name)
{
    for (size_t i = 0; i < COUNT(other_kinds); i++)
        if (memmem(name.ptr, name.len, other_kinds[i].part, strlen(other_kinds[i].part)))
            return other_kinds[i].kind;
    return NULL;
}
