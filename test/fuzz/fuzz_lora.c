/* fuzz_lora - any bytes as a LoRA's file, and as its header; what opens is checked against a network and added to it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "models/layout/lora.h"

enum { ROWS = 12, COLS = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool shape_of(const void *ctx, const char *name, int64_t *ret_rows, int64_t *ret_cols)
{
    (void)ctx;
    *ret_rows = ROWS;
    *ret_cols = strstr(name, ".bias") ? 1 : COLS;
    return !strstr(name, ".9.");
}

static void add_all(const struct lora *l)
{
    static const char *const names[] = { "img_in.weight",
                                         "double_blocks.0.img_attn.qkv.weight",
                                         "double_blocks.0.img_attn.qkv.bias",
                                         "double_blocks.0.img_mlp.2.weight",
                                         "single_blocks.1.linear1.weight",
                                         "single_blocks.1.linear1.bias",
                                         "final_layer.adaLN_modulation.1.weight",
                                         "final_layer.adaLN_modulation.1.bias" };
    struct weight_patch p = lora_patch(l);

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int64_t rows = 0, cols = 0;
        float values[ROWS * COLS] = { 0 }, again[ROWS * COLS] = { 0 };

        (void)shape_of(NULL, names[i], &rows, &cols);
        if (!p.touches(p.ctx, names[i]))
            continue;
        p.add(p.ctx, names[i], 0, rows, cols, values);
        for (int64_t o = 0; o < rows; o++)
            p.add(p.ctx, names[i], o, 1, cols, again + o * cols);
        if (memcmp(values, again, sizeof values))
            abort();
    }
}

static void read_all(struct span map)
{
    const struct lora *l = NULL;
    struct arena a = { 0 };
    struct err err = { 0 };

    if (arena_init(&a, 32 << 20, NULL))
        abort();
    if (!lora_parse("fuzz", map, 0.5, &a, &l, &err)) {
        (void)!lora_check(l, shape_of, NULL, NULL);
        add_all(l);
        if (!strlen(lora_digest(l)) || lora_layers(l) < 1)
            abort();
    }
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_all((struct span){ (const char *)data, size });
    return 0;
}
