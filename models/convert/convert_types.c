#include "models/convert/convert_types.h"

#include <string.h>

#include "kernels/quantise.h"

/* The number is that of llama_ftype; there the K types with several mixes begin with the pure one, "small". */
static const struct {
    enum dtype type;
    uint32_t file_type;
} writable[] = {
    { DT_F32, 0 },   { DT_F16, 1 },   { DT_BF16, 32 }, { DT_Q8_0, 7 },    { DT_Q4_0, 2 },
    { DT_Q4_1, 3 },  { DT_Q5_0, 8 },  { DT_Q5_1, 9 },  { DT_Q2_K, 10 },   { DT_Q3_K, 11 },
    { DT_Q4_K, 14 }, { DT_Q5_K, 16 }, { DT_Q6_K, 18 }, { DT_IQ4_NL, 25 }, { DT_IQ4_XS, 30 },
};
enum { N_WRITABLE = sizeof writable / sizeof *writable };

/* Matrices outside the blocks. Those that see the sinusoids, the latents and the velocity are few and stay exact. */
static const struct {
    const char *name;
    enum dtype type;
} outside[] = {
    { "img_in.weight", DT_F32 },
    { "time_in.in_layer.weight", DT_F32 },
    { "vector_in.in_layer.weight", DT_F32 },
    { "guidance_in.in_layer.weight", DT_F32 },
    { "final_layer.linear.weight", DT_F32 },
    { "txt_in.weight", DT_BF16 },
    { "time_in.out_layer.weight", DT_BF16 },
    { "vector_in.out_layer.weight", DT_BF16 },
    { "guidance_in.out_layer.weight", DT_BF16 },
    { "final_layer.adaLN_modulation.1.weight", DT_BF16 },
};

static int find_writable(enum dtype t)
{
    for (int i = 0; i < N_WRITABLE; i++)
        if (writable[i].type == t)
            return i;
    return -1;
}

bool convert_can_write(enum dtype t)
{
    return find_writable(t) >= 0 && (t == DT_F32 || quantise_supports(t));
}

uint32_t convert_file_type(enum dtype t)
{
    int i = find_writable(t);

    return i < 0 ? 0 : writable[i].file_type;
}

bool convert_keeps(const struct convert_keep *k, const char *name)
{
    return strstr(name, k->part) != NULL;
}

static enum dtype type_of_block(const struct convert_types *t, const char *name)
{
    for (int i = 0; i < t->n_keeps; i++)
        if (convert_keeps(&t->keeps[i], name))
            return t->keeps[i].type;
    return t->type;
}

enum dtype convert_type_of(const struct convert_types *t, const char *name, int n_dims, const int64_t *dims)
{
    enum dtype type;

    if (n_dims < 2)
        return DT_F32;
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        if (!strcmp(outside[i].name, name))
            return t->type == DT_F32 ? DT_F32 : outside[i].type;
    type = type_of_block(t, name);
    return dims[n_dims - 1] % dtype_info(type)->block_elems ? DT_F16 : type;
}
