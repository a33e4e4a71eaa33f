/*
 * cmd_inspect - what is in a GGUF or safetensors file: one tensor a line, or the values of one tensor as raw f32.
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

enum { ARENA_BYTES = 512 << 20, CHUNK_VALUES = 1 << 14 /* a multiple of every block */ };

/* Names are other people's text: nothing in them may speak to the terminal. */
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

/* Values i .. i + n - 1; rows are whole blocks without padding, so a tensor is one run of blocks. */
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
    enum err_code rc = out_file_open(&out, path, err);

    if (rc)
        return rc;
    for (int i = 0; i < e->n_dims; i++)
        count *= e->dims[i];
    for (int64_t i = 0; i < count; i += CHUNK_VALUES) {
        int n = count - i < CHUNK_VALUES ? (int)(count - i) : CHUNK_VALUES;

        expand(e, i, n, values);
        out_file_write(out, values, (size_t)n * sizeof *values);
    }
    return out_file_close(out, OUT_FILE_KEEP, err);
}

static enum err_code inspect(const char *path, const char *tensor, const char *out, struct arena *a, struct err *err)
{
    const struct tensor_entry *e;
    struct tensor_file f;
    enum err_code rc = tensor_file_open(path, a, &f, err);

    if (rc)
        return rc;
    if (!tensor) {
        print_all(&f);
        return ERR_OK;
    }
    e = tensor_file_find(&f, span_of(tensor));
    if (!e)
        return err_set(err, ERR_NOT_FOUND, "%s: no tensor '%s'", path, tensor);
    if (!out) {
        print_entry(e, 0);
        return ERR_OK;
    }
    return write_values(e, out, err);
}

int cmd_inspect(int argc, char **argv)
{
    const char *path = NULL, *tensor = NULL, *out = NULL;
    const struct cli_option options[] = {
        { "FILE", CLI_TEXT, &path, NULL, .help = "a GGUF or safetensors file", .required = true },
        { "--tensor", CLI_TEXT, &tensor, "NAME", .help = "this tensor only" },
        { "--out", CLI_OUT, &out, "F.f32", .help = "write its values there as raw little-endian f32" },
    };
    const struct cli_command command = { "inspect", "lists the tensors of a file, or writes one as f32", options,
                                         .n_options = CLI_COUNT(options) };
    struct arena a = { 0 };
    struct err err = { 0 };
    int status = cli_parse(&command, argc, argv);

    if (status != CLI_RUN)
        return status;
    if (out && !tensor) {
        (void)fprintf(stderr, "inpaint-worker inspect: --out needs --tensor (see inpaint-worker inspect --help)\n");
        return CLI_USAGE;
    }
    if (arena_init(&a, ARENA_BYTES, &err) || inspect(path, tensor, out, &a, &err))
        status = cli_fail("inspect", &err);
    else
        status = CLI_DONE;
    arena_done(&a);
    return status;
}
