/*
 * cmd_inspect - lists the tensors of a GGUF or safetensors file, one a line, or writes the values of one as raw f32.
 *
 *   NAME  TYPE  [rows,cols]      the last dimension is contiguous, in GGUF files too
 */
#include <stdio.h>
#include <string.h>

#include "kernels/base/out_file.h"
#include "kernels/quant.h"
#include "models/file/tensor_file.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"

enum { ARENA_BYTES = 512 << 20, CHUNK_VALUES = 1 << 14 /* a multiple of every block type's length */ };

struct args {
    const char *file, *tensor, *out;
};

/* Names come from outside: control characters, which could steer the terminal, are shown as \xNN. */
static void print_name(struct span name, int width)
{
    int printed = 0;

    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];

        printed += c < 0x20 || c == 0x7f ? printf("\\x%02x", c) : putchar(c) != EOF;
    }
    (void)printf("%*s", printed < width ? width - printed : 0, "");
}

static void print_entry(const struct tensor_entry *e, int width)
{
    print_name(e->name, width);
    (void)printf("  %-7s  [", dtype_info(e->dtype)->name);
    for (int i = 0; i < e->n_dims; i++)
        (void)printf("%s%lld", i ? "," : "", (long long)e->dims[i]);
    (void)printf("]\n");
}

static void print_all(const struct tensor_file *f)
{
    size_t width = 0;

    for (int i = 0; i < f->n_entries; i++)
        if (f->entries[i].name.len > width)
            width = f->entries[i].name.len;
    for (int i = 0; i < f->n_entries; i++)
        print_entry(&f->entries[i], (int)width);
}

/* Element k of an integer tensor. */
static float value_of(enum dtype t, const char *src, int k)
{
    int32_t i32;
    int64_t i64;

    switch (t) {
    case DT_I32:
        memcpy(&i32, src + 4 * (size_t)k, sizeof i32);
        return (float)i32;
    case DT_I64:
        memcpy(&i64, src + 8 * (size_t)k, sizeof i64);
        return (float)i64;
    default:
        return (float)(unsigned char)src[k];
    }
}

/* Values i .. i + n - 1. Rows are whole blocks without padding, so the blocks of a tensor follow one another. */
static void expand(const struct tensor_entry *e, int64_t i, int n, float *ret)
{
    const struct dtype_info *info = dtype_info(e->dtype);
    const char *src = (const char *)e->data + (size_t)(i / info->block_elems) * (size_t)info->block_bytes;

    if (e->dtype != DT_I32 && e->dtype != DT_I64 && e->dtype != DT_U8) {
        dequantise_row(e->dtype, src, ret, n);
        return;
    }
    for (int k = 0; k < n; k++)
        ret[k] = value_of(e->dtype, src, k);
}

static enum err_code write_values(const struct tensor_entry *e, const char *path, struct err *err)
{
    float values[CHUNK_VALUES];
    struct out_file *out = NULL;
    int64_t count = 1;

    TRY(out_file_open(&out, path, err));
    for (int i = 0; i < e->n_dims; i++)
        count *= e->dims[i];
    for (int64_t i = 0; i < count; i += CHUNK_VALUES) {
        int n = count - i < CHUNK_VALUES ? (int)(count - i) : CHUNK_VALUES;

        expand(e, i, n, values);
        out_file_write(out, values, (size_t)n * sizeof *values);
    }
    return out_file_close(out, OUT_FILE_KEEP, err);
}

static enum err_code inspect(struct arena *arena, const struct args *a, struct err *err)
{
    const struct tensor_entry *e;
    struct tensor_file f;

    TRY(arena_init(arena, ARENA_BYTES, err));
    TRY(tensor_file_open(a->file, arena, &f, err));
    if (!a->tensor) {
        print_all(&f);
        return ERR_OK;
    }
    e = tensor_file_find(&f, span_of(a->tensor));
    if (!e)
        return err_set(err, ERR_NOT_FOUND, "%s: there is no tensor '%s'", a->file, a->tensor);
    if (!a->out) {
        print_entry(e, 0);
        return ERR_OK;
    }
    return write_values(e, a->out, err);
}

int cmd_inspect(int argc, char **argv)
{
    struct args a = { 0 };
    const struct cli_option options[] = {
        { "FILE", CLI_TEXT, &a.file, NULL, .help = "a GGUF or safetensors file", .required = true },
        { "--tensor", CLI_TEXT, &a.tensor, "NAME", .help = "only this tensor" },
        { "--out", CLI_OUT, &a.out, "FILE",
          .help = "with --tensor: write its values to this file, as raw little-endian f32" },
    };
    const struct cli_command command = { "inspect",
                                         "lists the tensors of a GGUF or safetensors file, or writes one as raw f32",
                                         options, .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);
    struct arena arena = { 0 };
    struct err err = { 0 };

    if (status != CLI_RUN)
        return status;
    if (a.out && !a.tensor)
        return cli_misused(&command, "--out needs --tensor");
    status = inspect(&arena, &a, &err) ? cli_fail(&command, &err) : CLI_DONE;
    arena_done(&arena);
    return status;
}
