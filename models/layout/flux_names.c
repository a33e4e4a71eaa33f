#include "models/layout/flux_names.h"

#include <stdio.h>

enum place { TOP, DOUBLE, SINGLE };

/* A place: how the names of its modules begin, before the number of the block. */
static const struct {
    const char *bfl, *diffusers;
} stems[] = {
    [TOP] = { "", "" },
    [DOUBLE] = { "double_blocks.", "transformer_blocks." },
    [SINGLE] = { "single_blocks.", "single_transformer_blocks." },
};

struct module {
    enum place place;
    const char *bfl;
    const char *diffusers[WEIGHT_MAX_PIECES]; /* in the order of their rows in BFL's matrix */
    bool halves_swapped, norm;
};

/* clang-format off */
static const struct module modules[] = {
    { TOP, "img_in", { "x_embedder" }, false, false },
    { TOP, "txt_in", { "context_embedder" }, false, false },
    { TOP, "time_in.in_layer", { "time_text_embed.timestep_embedder.linear_1" }, false, false },
    { TOP, "time_in.out_layer", { "time_text_embed.timestep_embedder.linear_2" }, false, false },
    { TOP, "vector_in.in_layer", { "time_text_embed.text_embedder.linear_1" }, false, false },
    { TOP, "vector_in.out_layer", { "time_text_embed.text_embedder.linear_2" }, false, false },
    { TOP, "guidance_in.in_layer", { "time_text_embed.guidance_embedder.linear_1" }, false, false },
    { TOP, "guidance_in.out_layer", { "time_text_embed.guidance_embedder.linear_2" }, false, false },
    { TOP, "final_layer.adaLN_modulation.1", { "norm_out.linear" }, true, false },
    { TOP, "final_layer.linear", { "proj_out" }, false, false },

    { DOUBLE, "img_mod.lin", { "norm1.linear" }, false, false },
    { DOUBLE, "img_attn.qkv", { "attn.to_q", "attn.to_k", "attn.to_v" }, false, false },
    { DOUBLE, "img_attn.norm.query_norm", { "attn.norm_q" }, false, true },
    { DOUBLE, "img_attn.norm.key_norm", { "attn.norm_k" }, false, true },
    { DOUBLE, "img_attn.proj", { "attn.to_out.0" }, false, false },
    { DOUBLE, "img_mlp.0", { "ff.net.0.proj" }, false, false },
    { DOUBLE, "img_mlp.2", { "ff.net.2" }, false, false },
    { DOUBLE, "txt_mod.lin", { "norm1_context.linear" }, false, false },
    { DOUBLE, "txt_attn.qkv", { "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj" }, false, false },
    { DOUBLE, "txt_attn.norm.query_norm", { "attn.norm_added_q" }, false, true },
    { DOUBLE, "txt_attn.norm.key_norm", { "attn.norm_added_k" }, false, true },
    { DOUBLE, "txt_attn.proj", { "attn.to_add_out" }, false, false },
    { DOUBLE, "txt_mlp.0", { "ff_context.net.0.proj" }, false, false },
    { DOUBLE, "txt_mlp.2", { "ff_context.net.2" }, false, false },

    { SINGLE, "modulation.lin", { "norm.linear" }, false, false },
    { SINGLE, "linear1", { "attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp" }, false, false },
    { SINGLE, "norm.query_norm", { "attn.norm_q" }, false, true },
    { SINGLE, "norm.key_norm", { "attn.norm_k" }, false, true },
    { SINGLE, "linear2", { "proj_out" }, false, false },
};
/* clang-format on */
enum { N_MODULES = sizeof modules / sizeof *modules };

/* Names that begin several tensors without being a block's. */
static const struct {
    const char *bfl, *diffusers;
} groups[] = {
    { "double_blocks.", "transformer_blocks." },
    { "single_blocks.", "single_transformer_blocks." },
    { "time_in.", "time_text_embed.timestep_embedder." },
    { "vector_in.", "time_text_embed.text_embedder." },
    { "guidance_in.", "time_text_embed.guidance_embedder." },
};

/* Takes `text` off the front; where underscores stand for points, either is one. */
static bool take(struct span *s, const char *text, bool underscores)
{
    size_t n = strlen(text);

    if (s->len < n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (s->ptr[i] != (underscores && text[i] == '.' ? '_' : text[i]))
            return false;
    *s = (struct span){ s->ptr + n, s->len - n };
    return true;
}

/* The number of a block and what parts it from the rest: "12." */
static bool take_number(struct span *s, bool underscores, int *ret)
{
    size_t n = 0;
    int number = 0;

    for (; n < s->len && n < 4 && s->ptr[n] >= '0' && s->ptr[n] <= '9'; n++)
        number = number * 10 + (s->ptr[n] - '0');
    if (n < 1 || n > 3 || (n > 1 && s->ptr[0] == '0'))
        return false;
    *s = (struct span){ s->ptr + n, s->len - n };
    *ret = number;
    return take(s, ".", underscores);
}

static bool take_stem(struct span *s, const char *stem, bool underscores, int *ret_number)
{
    *ret_number = 0;
    return take(s, stem, underscores) && (!*stem || take_number(s, underscores, ret_number));
}

static int n_pieces_of(const struct module *m)
{
    int n = 0;

    while (n < WEIGHT_MAX_PIECES && m->diffusers[n])
        n++;
    return n;
}

static void print_name(char *ret, size_t size, enum place place, const char *stem, int number, const char *module,
                       const char *tail)
{
    if (place == TOP)
        (void)snprintf(ret, size, "%s%s", module, tail);
    else
        (void)snprintf(ret, size, "%s%d.%s%s", stem, number, module, tail);
}

/* Whether `rest`, what follows a module's name, is one of its tensors; *ret is diffusers' name of that. */
static bool tensor_of(const struct module *m, struct span rest, const char **ret)
{
    if (span_is(rest, ".weight") || (m->norm && span_is(rest, ".scale")))
        *ret = ".weight";
    else if (span_is(rest, ".bias") && !m->norm)
        *ret = ".bias";
    else
        return false;
    return true;
}

static bool group_names(const char *name, struct weight_names *ret)
{
    struct weight_names names = { .n = 1 };

    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (span_is(span_of(name), groups[i].bfl)) {
            (void)snprintf(names.name[0], sizeof names.name[0], "%s", groups[i].diffusers);
            *ret = names;
            return true;
        }
    for (enum place p = DOUBLE; p <= SINGLE; p++) {
        struct span rest = span_of(name);
        int number;

        if (take_stem(&rest, stems[p].bfl, false, &number) && !rest.len) {
            print_name(names.name[0], sizeof names.name[0], p, stems[p].diffusers, number, "", "");
            *ret = names;
            return true;
        }
    }
    return false;
}

bool flux_names_diffusers(const char *name, struct weight_names *ret)
{
    if (span_ends(span_of(name), "."))
        return group_names(name, ret);
    for (int i = 0; i < N_MODULES; i++) {
        const struct module *m = &modules[i];
        struct weight_names names = { .n = n_pieces_of(m), .halves_swapped = m->halves_swapped };
        struct span rest = span_of(name);
        const char *tail;
        int number;

        if (!take_stem(&rest, stems[m->place].bfl, false, &number) || !take(&rest, m->bfl, false) ||
            !tensor_of(m, rest, &tail))
            continue;
        for (int k = 0; k < names.n; k++)
            print_name(names.name[k], sizeof names.name[k], m->place, stems[m->place].diffusers, number,
                       m->diffusers[k], tail);
        *ret = names;
        return true;
    }
    return false;
}

/* Which piece of a module `rest` names; -1: none. */
static int piece_of(const struct module *m, struct span rest, enum flux_naming naming, bool underscores)
{
    for (int k = 0; k < (naming == FLUX_NAMING_BFL ? 1 : n_pieces_of(m)); k++) {
        struct span s = rest;

        if (take(&s, naming == FLUX_NAMING_BFL ? m->bfl : m->diffusers[k], underscores) && !s.len)
            return k;
    }
    return -1;
}

bool flux_names_module(struct span module, enum flux_naming naming, bool underscores, struct flux_module *ret)
{
    bool bfl = naming == FLUX_NAMING_BFL;

    for (int i = 0; i < N_MODULES; i++) {
        const struct module *m = &modules[i];
        struct flux_module found = { .norm = m->norm };
        struct span rest = module;
        int number;

        if (!take_stem(&rest, bfl ? stems[m->place].bfl : stems[m->place].diffusers, underscores, &number))
            continue;
        found.piece = piece_of(m, rest, naming, underscores);
        if (found.piece < 0)
            continue;
        found.n_pieces = bfl ? 1 : n_pieces_of(m);
        found.halves_swapped = !bfl && m->halves_swapped;
        print_name(found.name, sizeof found.name, m->place, stems[m->place].bfl, number, m->bfl, "");
        *ret = found;
        return true;
    }
    return false;
}
