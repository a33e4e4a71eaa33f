/*
 * cmd_inspect - lists the tensors of a model's files, one a line, or their metadata, or writes the values of one tensor
 * as raw f32.
 *
 *   NAME  TYPE  [rows,cols]      the last dimension is contiguous, in GGUF files too
 *   KEY   TYPE  VALUE            --metadata; i32[2] is an array; what is long is cut, and its length given
 *
 * Columns are apart by two blanks or more. Where there are several files, the tensor's file is a fourth column, and the
 * metadata's file one before the first. What cannot be used is listed, too: lines on stderr say what that is.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/file.h"
#include "kernels/base/json_scan.h"
#include "kernels/base/out_file.h"
#include "kernels/quant.h"
#include "models/file/file_map.h"
#include "models/file/gguf.h"
#include "models/file/shards.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/push/printable.h"

enum {
    ARENA_BYTES = 512 << 20,
    CHUNK_VALUES = 1 << 14, /* a multiple of every block type's length */
    KEY_WIDTH_MAX = 48,     /* of the column; longer keys move the others on */
    TEXT_SHOWN = 300,       /* bytes of a text */
    ITEM_SHOWN = 40,        /* bytes of a text in an array */
    ITEMS_SHOWN = 8,        /* values of an array */
    TYPES_SHOWN = 6
};

struct args {
    const char *file, *tensor, *out;
    bool metadata;
};

/* What is looked at, and memory for what is printed of it. */
struct run {
    struct arena arena;
    struct shards shards;
};

/* Texts come from outside: what could steer the terminal is shown as \xNN. Returns the bytes printed. */
static int print_text(struct run *r, struct span text, size_t max_bytes)
{
    ARENA_SCRATCH(&r->arena);
    struct span shown = { text.ptr, printable_cut(text, max_bytes) };
    char *escaped = NULL;
    int n = 0;

    if (printable_escape(shown, &r->arena, &escaped, NULL))
        return 0;
    n = printf("%s", escaped);
    if (shown.len < text.len)
        n += printf("... (%zu bytes)", text.len);
    return n > 0 ? n : 0;
}

static void print_column(struct run *r, struct span text, int width)
{
    int printed = print_text(r, text, SIZE_MAX);

    (void)printf("%*s  ", printed < width ? width - printed : 0, "");
}

/* --- tensors --- */

static void print_entry(struct run *r, const struct tensor_file *f, const struct tensor_entry *e, int width)
{
    print_column(r, e->name, width);
    (void)printf("%-7s  [", e->type_name);
    for (int i = 0; i < e->n_dims; i++)
        (void)printf("%s%" PRId64, i ? "," : "", e->dims[i]);
    (void)putchar(']');
    if (r->shards.n_files > 1) {
        (void)printf("  ");
        (void)print_text(r, span_of(file_short_name(f->path)), SIZE_MAX);
    }
    (void)putchar('\n');
}

static void print_tensors(struct run *r)
{
    size_t width = 0;

    for (int f = 0; f < r->shards.n_files; f++)
        for (int i = 0; i < r->shards.files[f].n_entries; i++)
            if (r->shards.files[f].entries[i].name.len > width)
                width = r->shards.files[f].entries[i].name.len;
    for (int f = 0; f < r->shards.n_files; f++)
        for (int i = 0; i < r->shards.files[f].n_entries; i++)
            print_entry(r, &r->shards.files[f], &r->shards.files[f].entries[i], (int)width);
}

/* The tensor of this name; NULL: none. *ret_file: where it is. */
static const struct tensor_entry *find_tensor(const struct shards *s, const char *name, const struct tensor_file **ret)
{
    const struct tensor_entry *e = NULL;

    for (int i = 0; i < s->n_files && !e; i++) {
        *ret = &s->files[i];
        e = tensor_file_find(*ret, span_of(name));
    }
    return e;
}

/* --- what is wrong with them --- */

/* Types of tensors that are not read, each once, and at most one more than are shown; returns how many tensors there
 * are. */
static int list_types(const struct shards *s, const char *types[TYPES_SHOWN + 1], int *ret_types)
{
    int n = 0;

    *ret_types = 0;
    for (int f = 0; f < s->n_files; f++)
        for (int i = 0; i < s->files[f].n_entries; i++) {
            const struct tensor_entry *e = &s->files[f].entries[i];
            int known = 0;

            if (e->dtype != DT_COUNT)
                continue;
            n++;
            while (known < *ret_types && strcmp(types[known], e->type_name) != 0)
                known++;
            if (known == *ret_types && known <= TYPES_SHOWN)
                types[(*ret_types)++] = e->type_name;
        }
    return n;
}

static void warn_of_types(const struct shards *s)
{
    const char *types[TYPES_SHOWN + 1];
    char list[TYPES_SHOWN * 40] = "", line[sizeof list + 120];
    int n_types, n = list_types(s, types, &n_types);

    for (int i = 0; i < n_types && i < TYPES_SHOWN; i++)
        (void)snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", types[i]);
    (void)snprintf(line, sizeof line, "%d %s cannot be read by this program: %s%s", n, n == 1 ? "tensor" : "tensors",
                   list, n_types > TYPES_SHOWN ? ", ..." : "");
    if (n)
        cli_warn(line);
}

static void warn_of_end(const char *path, int64_t missing)
{
    struct err line = { 0 };

    err_ignore(err_set(&line, ERR_CORRUPT,
                       "%s is unfinished: %" PRId64 " %s missing at its end; finish the download or fetch it again",
                       path, missing, missing == 1 ? "byte is" : "bytes are"));
    cli_warn(line.msg);
}

/* After what was printed, as the last lines. */
static void warn(const struct args *a, const struct shards *s)
{
    int64_t rest = s->missing_bytes;

    (void)fflush(stdout);
    warn_of_types(s);
    for (int i = 0; i < s->n_files; i++) {
        rest -= s->files[i].missing_bytes;
        if (s->files[i].missing_bytes)
            warn_of_end(s->files[i].path, s->files[i].missing_bytes);
    }
    if (rest > 0) {
        struct err line = { 0 };

        err_ignore(err_set(&line, ERR_CORRUPT,
                           "the files have %" PRId64 " bytes less than %s says; fetch all of them again", rest,
                           file_short_name(a->file)));
        cli_warn(line.msg);
    }
}

/* --- metadata --- */

static const char *const gguf_type_names[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = "u8",         [GGUF_I8] = "i8",   [GGUF_U16] = "u16",     [GGUF_I16] = "i16", [GGUF_U32] = "u32",
    [GGUF_I32] = "i32",       [GGUF_F32] = "f32", [GGUF_BOOL] = "bool",   [GGUF_U64] = "u64", [GGUF_I64] = "i64",
    [GGUF_STRING] = "string", [GGUF_F64] = "f64", [GGUF_ARRAY] = "array",
};

static int64_t signed_of(uint64_t v, size_t bytes)
{
    unsigned spare_bits = 64 - 8 * (unsigned)bytes;

    return (int64_t)(v << spare_bits) >> spare_bits;
}

/* A plain value of a fixed length, 1 to 8 bytes. */
static void print_number(enum gguf_type type, struct span bytes)
{
    uint64_t v = 0;
    double d;
    float f;

    memcpy(&v, bytes.ptr, bytes.len);
    memcpy(&f, &v, sizeof f);
    memcpy(&d, &v, sizeof d);
    switch (type) {
    case GGUF_F32:
        (void)printf("%.9g", (double)f);
        break;
    case GGUF_F64:
        (void)printf("%.17g", d);
        break;
    case GGUF_BOOL:
        (void)printf("%s", v ? "true" : "false");
        break;
    case GGUF_I8:
    case GGUF_I16:
    case GGUF_I32:
    case GGUF_I64:
        (void)printf("%" PRId64, signed_of(v, bytes.len));
        break;
    default:
        (void)printf("%" PRIu64, v);
    }
}

/* The element of an array that begins at *at, which moves on behind it. */
static void print_element(struct run *r, const struct gguf_pair *p, size_t *at)
{
    uint64_t len = p->type == GGUF_STRING ? 0 : p->bytes.len / (size_t)p->n;

    if (p->type == GGUF_STRING) { /* lengths were checked when the file was opened */
        memcpy(&len, p->bytes.ptr + *at, sizeof len);
        *at += sizeof len;
        (void)putchar('"');
        (void)print_text(r, (struct span){ p->bytes.ptr + *at, (size_t)len }, ITEM_SHOWN);
        (void)putchar('"');
    } else {
        print_number(p->type, (struct span){ p->bytes.ptr + *at, (size_t)len });
    }
    *at += (size_t)len;
}

static void print_array(struct run *r, const struct gguf_pair *p)
{
    int64_t shown = p->n < ITEMS_SHOWN ? p->n : ITEMS_SHOWN;
    size_t at = 0;

    (void)putchar('[');
    for (int64_t i = 0; i < shown; i++) {
        (void)printf("%s", i ? ", " : "");
        print_element(r, p, &at);
    }
    (void)printf(shown < p->n ? ", ...]" : "]");
}

static void print_pair(struct run *r, const struct gguf_pair *p, int width)
{
    char type[48];

    print_column(r, p->key, width);
    if (p->is_array)
        (void)snprintf(type, sizeof type, "%s[%" PRId64 "]", gguf_type_names[p->type], p->n);
    else
        (void)snprintf(type, sizeof type, "%s", gguf_type_names[p->type]);
    (void)printf("%-7s  ", type);
    if (p->is_array)
        print_array(r, p);
    else if (p->type == GGUF_STRING)
        (void)print_text(r, p->bytes, TEXT_SHOWN);
    else
        print_number(p->type, p->bytes);
    (void)putchar('\n');
}

static void print_file(struct run *r, const struct tensor_file *f)
{
    if (r->shards.n_files > 1)
        print_column(r, span_of(file_short_name(f->path)), 0);
}

static void print_pairs(struct run *r, const struct tensor_file *f)
{
    size_t width = 0;

    for (int i = 0; i < f->gguf->n_pairs; i++)
        if (f->gguf->pairs[i].key.len > width)
            width = f->gguf->pairs[i].key.len;
    for (int i = 0; i < f->gguf->n_pairs; i++) {
        print_file(r, f);
        print_pair(r, &f->gguf->pairs[i], width < KEY_WIDTH_MAX ? (int)width : KEY_WIDTH_MAX);
    }
}

/* The text between quotes in JSON, as it is meant; the room is as long as the whole text. */
static struct span unescaped(struct span raw, char *room)
{
    size_t len = 0;

    return json_unescape(raw, room, raw.len + 1, &len) ? (struct span){ room, len } : (struct span){ "", 0 };
}

/* __metadata__ of a safetensors file: an object of strings, which was checked when the file was opened. */
static enum err_code print_json_pairs(struct run *r, const struct tensor_file *f, struct err *err)
{
    ARENA_SCRATCH(&r->arena);
    struct json_scan s;
    char *room = NULL;
    size_t width = 0;

    TRY(arena_alloc(&r->arena, f->metadata.len + 1, 1, &room, err));
    json_scan_init(&s, f->metadata);
    for (enum json_event ev = json_scan_next(&s); ev > JSON_END; ev = json_scan_next(&s))
        if (ev == JSON_KEY && s.raw.len > width)
            width = s.raw.len;
    json_scan_init(&s, f->metadata);
    (void)json_scan_next(&s);
    while (json_scan_next(&s) == JSON_KEY) {
        print_file(r, f);
        print_column(r, unescaped(s.raw, room), width < KEY_WIDTH_MAX ? (int)width : KEY_WIDTH_MAX);
        (void)json_scan_next(&s);
        (void)printf("%-7s  ", "string");
        (void)print_text(r, unescaped(s.raw, room), TEXT_SHOWN);
        (void)putchar('\n');
    }
    return ERR_OK;
}

static enum err_code print_metadata(struct run *r, struct err *err)
{
    for (int i = 0; i < r->shards.n_files; i++) {
        const struct tensor_file *f = &r->shards.files[i];

        if (f->gguf)
            print_pairs(r, f);
        else if (f->metadata.len)
            TRY(print_json_pairs(r, f, err));
    }
    return ERR_OK;
}

/* --- values --- */

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

    if (!dtype_is_integer(e->dtype)) {
        dequantise_row(e->dtype, src, ret, n);
        return;
    }
    for (int k = 0; k < n; k++)
        ret[k] = value_of(e->dtype, src, k);
}

/* Only a tensor that is there and can be read has values to write. */
static enum err_code check_values(const struct tensor_file *f, const struct tensor_entry *e, struct err *err)
{
    if (e->dtype == DT_COUNT)
        return err_set(err, ERR_UNSUPPORTED, "%s: tensor '%.*s' of type %s cannot be read by this program", f->path,
                       SPAN_ARG(e->name), e->type_name);
    if (!e->data)
        return err_set(err, ERR_CORRUPT,
                       "%s: tensor '%.*s' is not all in the file, which is %" PRId64
                       " bytes short; finish the download or fetch it again",
                       f->path, SPAN_ARG(e->name), f->missing_bytes);
    return ERR_OK;
}

static enum err_code write_values(const struct tensor_entry *e, const char *path, struct err *err)
{
    float values[CHUNK_VALUES];
    struct out_file *out = NULL;
    int64_t count = 1;
    enum err_code rc;

    TRY(out_file_open(&out, path, err));
    for (int i = 0; i < e->n_dims; i++)
        count *= e->dims[i];
    for (int64_t i = 0; i < count; i += CHUNK_VALUES) {
        int n = count - i < CHUNK_VALUES ? (int)(count - i) : CHUNK_VALUES;

        expand(e, i, n, values);
        out_file_write(out, values, (size_t)n * sizeof *values);
    }
    rc = file_map_check(err); /* what was lost while it was read is zeros */
    return out_file_close(out, rc ? OUT_FILE_DISCARD : OUT_FILE_KEEP, err) && !rc ? ERR_IO : rc;
}

static enum err_code inspect_tensor(struct run *r, const struct args *a, struct err *err)
{
    const struct tensor_file *f = NULL;
    const struct tensor_entry *e = find_tensor(&r->shards, a->tensor, &f);

    if (!e)
        return err_set(err, ERR_NOT_FOUND, "%s: there is no tensor '%s'", a->file, a->tensor);
    if (!a->out) {
        print_entry(r, f, e, 0);
        return ERR_OK;
    }
    TRY(check_values(f, e, err));
    return write_values(e, a->out, err);
}

static enum err_code inspect(struct run *r, const struct args *a, struct err *err)
{
    TRY(arena_init(&r->arena, ARENA_BYTES, err));
    TRY(shards_survey(a->file, &r->arena, &r->shards, err));
    if (a->tensor)
        return inspect_tensor(r, a, err);
    if (a->metadata)
        TRY(print_metadata(r, err));
    else
        print_tensors(r);
    warn(a, &r->shards);
    return ERR_OK;
}

int cmd_inspect(int argc, char **argv)
{
    struct args a = { 0 };
    const struct cli_option options[] = {
        { "FILE", CLI_TEXT, &a.file, NULL,
          .help =
              "a GGUF or safetensors file, an index of shards (*.index.json), or the first part of a split GGUF file",
          .required = true },
        { "--metadata", CLI_FLAG, &a.metadata, .help = "the metadata instead of the tensors" },
        { "--tensor", CLI_TEXT, &a.tensor, "NAME", .help = "only this tensor" },
        { "--out", CLI_OUT, &a.out, "FILE",
          .help = "with --tensor: write its values to this file, as raw little-endian f32" },
    };
    const struct cli_command command = { "inspect",
                                         "lists tensors or metadata of model files, or writes a tensor as raw f32",
                                         options, .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);
    struct run r = { 0 };
    struct err err = { 0 };

    if (status != CLI_RUN)
        return status;
    if (a.out && !a.tensor)
        return cli_misused(&command, "--out needs --tensor");
    if (a.metadata && a.tensor)
        return cli_misused(&command, "--metadata and --tensor exclude each other");
    status = inspect(&r, &a, &err) ? cli_fail(&command, &err) : CLI_DONE;
    arena_done(&r.arena);
    return status;
}
