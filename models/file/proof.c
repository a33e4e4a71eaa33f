#include "models/file/proof.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/base/file.h"
#include "kernels/base/processor.h"
#include "kernels/quant.h"

enum {
    PAGE = 4096,
    HOLE_PAGES_OF_BYTES = 4,             /* of weights of one byte each */
    MATRIX_MAY_BE_ZERO = 64,             /* bytes: a smaller matrix may */
    CONVOLUTION_MAY_BE_ZERO = 256 << 10, /* bytes: a smaller convolution may */
    TINY_MATRIX = 1024,                  /* bytes */
    FIRST_BYTES = 16,
    TABLE_ROWS = 32000, /* from here on, rows are those of a token table */
    TABLE_PADDING = 64, /* rows */
    LINE = 64,          /* bytes of a cache line */
    PRUNED_ROW = 256,   /* bytes: shorter rows begin at too many places to tell their zeros from a hole */
    SMALL_RUN = 512,    /* bytes: fewer zeros at an end are no hole that begins or ends within a row */
    SMALL_HOLE = 2048,  /* bytes, in a factor of a LoRA that is smaller than four pages */
    MAX_FIELDS = 2,
    PARTS = 16, /* of a tensor, for several processors */
    PARALLEL_BYTES = 1 << 20,
    NAME_SHOWN = 80 /* characters of a tensor's name in a message */
};

/* An f16 of a block, and how many times its value a value of the block can be. */
struct field {
    int at; /* bytes into the block */
    float reach;
};

/* The scales of each block layout, and its minima where it has them; MODEL.md 3.4. */
static const struct field fields[DT_COUNT][MAX_FIELDS] = {
    [DT_Q8_0] = { { 0, 128 } },
    [DT_Q4_0] = { { 0, 8 } },
    [DT_Q4_1] = { { 0, 15 }, { 2, 1 } },
    [DT_Q5_0] = { { 0, 16 } },
    [DT_Q5_1] = { { 0, 31 }, { 2, 1 } },
    [DT_Q2_K] = { { 80, 15 * 3 }, { 82, 15 } },
    [DT_Q3_K] = { { 108, 32 * 4 } },
    [DT_Q4_K] = { { 0, 63 * 15 }, { 2, 63 } },
    [DT_Q5_K] = { { 0, 63 * 31 }, { 2, 63 } },
    [DT_Q6_K] = { { 208, 128 * 32 } },
    [DT_IQ4_NL] = { { 0, 127 } },
    [DT_IQ4_XS] = { { 0, 32 * 127 } },
};

struct proof {
    const struct tensor_entry *e;
    const char *path;
    const char *data, *end;
    bool zeros_are_holes;       /* zeros are holes, and not those alone that are exactly some pages, */
    const char *filled_end;     /* ... up to here, */
    ptrdiff_t hole_bytes;       /* ... where they are so many */
    float largest;              /* value that passes */
    int block_bytes, n_fields;  /* n_fields 0: plain floats of block_bytes */
    int at[MAX_FIELDS];         /* of the fields; of a plain float: 0 */
    uint32_t limit[MAX_FIELDS]; /* the bits of the largest magnitude that passes */
};

/* --- limits --- */

static float value_of(enum dtype t, uint32_t bits)
{
    float v;

    dequantise_row(t, &bits, &v, 1);
    return v;
}

/* The bits of the largest float of a type that is not over `largest`: magnitudes grow with their bits, up to infinity
 * and NaN. The signs have been taken off. */
static uint32_t limit_of(enum dtype t, float largest)
{
    uint32_t low = 0, high = (uint32_t)(0x7fffffffu >> (32 - 8 * dtype_info(t)->block_bytes));

    while (low < high) {
        uint32_t middle = high - (high - low) / 2;

        if (value_of(t, middle) <= largest)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static bool is_plain_float(enum dtype t)
{
    return dtype_info(t)->block_elems == 1 && !dtype_is_integer(t);
}

static void set_limits(struct proof *p)
{
    const struct field *f = fields[p->e->dtype];

    p->block_bytes = dtype_info(p->e->dtype)->block_bytes;
    if (is_plain_float(p->e->dtype)) {
        p->limit[0] = limit_of(p->e->dtype, p->largest);
        return;
    }
    for (; p->n_fields < MAX_FIELDS && f[p->n_fields].reach > 0; p->n_fields++) {
        p->at[p->n_fields] = f[p->n_fields].at;
        p->limit[p->n_fields] = limit_of(DT_F16, p->largest / f[p->n_fields].reach);
    }
}

/* --- values --- */

INLINE_HOT uint32_t magnitude_at(const char *p, int bytes)
{
    uint32_t v = 0;

    memcpy(&v, p, (size_t)bytes);
    return v & (0x7fffffffu >> (32 - 8 * bytes));
}

/* The largest magnitude of n floats that follow one another. Each loop is in the width of its type, so that it becomes
 * vector code. */
EVERY_PROCESSOR static uint32_t largest_of_words(const char *from, size_t n)
{
    uint32_t largest = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t v = magnitude_at(from + 4 * i, 4);

        largest = v > largest ? v : largest;
    }
    return largest;
}

EVERY_PROCESSOR static uint32_t largest_of_halves(const char *from, size_t n)
{
    uint16_t largest = 0;

    for (size_t i = 0; i < n; i++) {
        uint16_t v;

        memcpy(&v, from + 2 * i, sizeof v);
        v &= 0x7fff;
        largest = v > largest ? v : largest;
    }
    return largest;
}

EVERY_PROCESSOR static uint32_t largest_of_bytes(const char *from, size_t n)
{
    uint8_t largest = 0;

    for (size_t i = 0; i < n; i++) {
        uint8_t v = (uint8_t)from[i] & 0x7f;

        largest = v > largest ? v : largest;
    }
    return largest;
}

static uint32_t largest_of_floats(const char *from, size_t n, int bytes)
{
    return bytes == 4 ? largest_of_words(from, n) : bytes == 2 ? largest_of_halves(from, n) : largest_of_bytes(from, n);
}

/* The first of the floats from `from` on that does not pass; NULL: all do. `from` is the place of one. */
static const char *bad_float(const struct proof *p, const char *from, const char *to)
{
    const size_t step = (size_t)p->block_bytes;

    if (from >= to || largest_of_floats(from, (size_t)(to - from) / step, p->block_bytes) <= p->limit[0])
        return NULL;
    while (magnitude_at(from, p->block_bytes) <= p->limit[0])
        from += step;
    return from;
}

/* The same for one field of the blocks. */
static const char *bad_field(const struct proof *p, int field, const char *from, const char *to)
{
    for (; from < to; from += p->block_bytes)
        if (magnitude_at(from, 2) > p->limit[field])
            return from;
    return NULL;
}

/* The place of the first block's field, or of the first float, at or behind `from`. */
static const char *first_at(const struct proof *p, int field, const char *from)
{
    const char *first = p->data + p->at[field];
    size_t step = (size_t)p->block_bytes;

    return from <= first ? first : first + ((size_t)(from - first) + step - 1) / step * step;
}

/* The first value or field in a part of the tensor that does not pass; NULL: all do. */
static const char *bad_value(const struct proof *p, const char *from, const char *to)
{
    const char *bad = NULL;

    for (int f = 0; f < p->n_fields && !bad; f++)
        bad = bad_field(p, f, first_at(p, f, from), to);
    return p->n_fields ? bad : bad_float(p, first_at(p, 0, from), first_at(p, 0, to));
}

static bool is_zero(const char *from, const char *to)
{
    return span_is_zero((struct span){ from, (size_t)(to - from) });
}

/* --- refusals --- */

static enum err_code refuse_zeros(const struct proof *p, const char *at, struct err *err)
{
    return err_set(err, ERR_CORRUPT,
                   "%s: tensor '%.*s' holds zeros from its byte %zu of %zu on: the download was not finished; fetch "
                   "the file again, its size is right but parts of it were never written",
                   file_short_name(p->path), (int)(p->e->name.len < NAME_SHOWN ? p->e->name.len : NAME_SHOWN),
                   p->e->name.ptr, (size_t)(at - p->data), p->e->bytes);
}

/* A field of a block, or a float, that does not pass. */
static enum err_code refuse_value(const struct proof *p, const char *at, struct err *err)
{
    uint32_t bits = 0;
    bool is_scale = p->n_fields > 0;
    int bytes = is_scale ? 2 : p->block_bytes;

    memcpy(&bits, at, (size_t)bytes);
    return err_set(err, ERR_CORRUPT,
                   "%s: tensor '%.*s' holds the %s %g at its byte %zu of %zu, which no trained model has%s; the file "
                   "is damaged: fetch it again",
                   file_short_name(p->path), (int)(p->e->name.len < NAME_SHOWN ? p->e->name.len : NAME_SHOWN),
                   p->e->name.ptr, is_scale ? "block scale" : "value",
                   (double)value_of(is_scale ? DT_F16 : p->e->dtype, bits), (size_t)(at - p->data), p->e->bytes,
                   p->largest < FLT_MAX ? " (its values are below 4096)" : "");
}

/* --- zeros that are meant --- */

/* All the zeros around some, as long as the tensor has them. */
struct zeros {
    const char *begin, *end;
};

static struct zeros zeros_around(const struct proof *p, const char *from, const char *to)
{
    while (from > p->data && !from[-1])
        from--;
    while (p->end - to >= PAGE && is_zero(to, to + PAGE))
        to += PAGE;
    while (to < p->end && !*to)
        to++;
    return (struct zeros){ from, to };
}

static bool is_page(const char *at)
{
    return (uintptr_t)at % PAGE == 0;
}

/* The place of the value that a run of zeros begins or ends at. */
static const char *value_at(const struct proof *p, const char *at, bool is_begin)
{
    const size_t step = (size_t)p->block_bytes;

    return p->data + ((size_t)(at - p->data) + (is_begin ? step - 1 : 0)) / step * step;
}

static bool begins_row(const struct proof *p, const char *value)
{
    return (size_t)(value - p->data) % (p->e->bytes / (size_t)p->e->dims[0]) == 0;
}

/* Whether a row of the tensor begins there; where a page of the file begins, too, that says nothing. */
static bool is_row(const struct proof *p, const char *at, bool is_begin)
{
    const char *value = value_at(p, at, is_begin);

    return begins_row(p, value) && !is_page(at) && !is_page(value);
}

/* Zeros that are rows, and no first or last one, and not just as well pages: neurons that were pruned. A hole begins
 * and ends anywhere. */
static bool are_pruned_rows(const struct proof *p, struct zeros z)
{
    const char *begin = value_at(p, z.begin, true), *end = value_at(p, z.end, false);

    return p->e->bytes / (size_t)p->e->dims[0] >= PRUNED_ROW && z.begin > p->data && z.end < p->filled_end &&
           begins_row(p, begin) && begins_row(p, end) && !(is_page(begin) && is_page(end));
}

/* Pages alone, and neither more nor less: even among the zeros that a plain cast to one byte makes. */
static bool are_pages(const struct proof *p, struct zeros z)
{
    const size_t row = p->e->bytes / (size_t)p->e->dims[0];
    const bool are_rows = (size_t)(z.begin - p->data) % row == 0 && (size_t)(z.end - p->data) % row == 0;

    return (is_page(z.begin) || z.begin == p->data) && (is_page(z.end) || z.end == p->filled_end) && !are_rows;
}

/* --- tensors --- */

/* A page that is a hole, if the rest of what a hole needs is there, too; most pages show in their first bytes that they
 * are none. */
static bool is_hole(const struct proof *p, const char *from, const char *to)
{
    return to - from == PAGE && to <= p->filled_end && is_zero(from, from + FIRST_BYTES) && is_zero(from, to);
}

static enum err_code check_pages(const struct proof *p, const char *begin, const char *end, struct err *err)
{
    const char *to, *bad;
    struct zeros zeros = { p->data, p->data }; /* the last that passed */

    for (const char *from = begin; from < end; from = to) {
        to = from + (PAGE - (uintptr_t)from % PAGE);
        to = to < end ? to : end;
        bad = bad_value(p, from, to);
        if (bad)
            return refuse_value(p, bad, err);
        if (to <= zeros.end || !is_hole(p, from, to))
            continue;
        zeros = zeros_around(p, from, to);
        if (zeros.end - zeros.begin < p->hole_bytes ? are_pages(p, zeros) : !are_pruned_rows(p, zeros))
            return refuse_zeros(p, from, err);
    }
    return ERR_OK;
}

/* Where a part of the tensor's pages begins. */
static const char *part_at(const struct proof *p, size_t part)
{
    const char *at = p->data + p->e->bytes / PARTS * part, *page = at - (uintptr_t)at % PAGE;

    return part == PARTS ? p->end : page > p->data ? page : p->data;
}

/* The same for all pages, by all processors where there are many; the first part that does not pass counts. */
static enum err_code check_parts(const struct proof *p, struct err *err)
{
    struct err found[PARTS] = { 0 };

#pragma omp parallel for schedule(dynamic) if (p->e->bytes >= PARALLEL_BYTES)
    for (size_t i = 0; i < PARTS; i++)
        err_ignore(check_pages(p, part_at(p, i), part_at(p, i + 1), &found[i]));
    for (int i = 0; i < PARTS; i++)
        if (found[i].code)
            return err_set(err, found[i].code, "%s", found[i].msg);
    return ERR_OK;
}

/* How many zeros at one of its ends are a hole that begins before a matrix or ends behind it: a quarter of a small one,
 * and the whole of a tiny one. */
static ptrdiff_t hole_at_end(const struct proof *p)
{
    ptrdiff_t bytes = p->filled_end - p->data, most = bytes < TINY_MATRIX ? bytes : bytes / 4;

    return most < p->hole_bytes ? most : p->hole_bytes;
}

/* Zeros at an end of a matrix that are more than two rows and no whole rows. */
static bool is_begun_hole(const struct proof *p, struct zeros z)
{
    const ptrdiff_t row = (ptrdiff_t)(p->e->bytes / (size_t)p->e->dims[0]);

    return p->block_bytes > 1 && z.end - z.begin > 2 * row && z.end - z.begin >= SMALL_RUN &&
           ((z.begin > p->data && !is_row(p, z.begin, true)) || (z.end < p->filled_end && !is_row(p, z.end, false)));
}

static enum err_code check_ends(const struct proof *p, struct err *err)
{
    const char *last = p->filled_end - hole_at_end(p);
    struct zeros zeros;

    if (!p->zeros_are_holes)
        return ERR_OK;
    if (is_zero(p->data, p->data + hole_at_end(p)))
        return refuse_zeros(p, p->data, err);
    if (is_zero(last, p->filled_end))
        return refuse_zeros(p, last, err);
    if (p->filled_end < p->end || p->filled_end - p->data < 2 * SMALL_RUN)
        return ERR_OK;
    zeros = zeros_around(p, p->data, p->data);
    if (is_begun_hole(p, zeros))
        return refuse_zeros(p, zeros.begin, err);
    zeros = zeros_around(p, p->end, p->end);
    return is_begun_hole(p, zeros) ? refuse_zeros(p, zeros.begin, err) : ERR_OK;
}

/* Where the rows of zeros that pad a token table begin: its end, where there are none. Padding consists of whole rows;
 * a hole begins anywhere. */
static const char *end_of_table(const struct tensor_entry *e)
{
    const char *data = e->data, *end = data + e->bytes, *at = end;
    size_t row_bytes = dtype_row_bytes(e->dtype, e->dims[1]), rows, rest;

    while (at > data && !at[-1] && (size_t)(end - at) < (TABLE_PADDING + 1) * row_bytes)
        at--;
    rows = (size_t)(end - at) / row_bytes;
    rest = (size_t)(end - at) % row_bytes; /* a few last bytes of a row may be zero */
    return rows <= TABLE_PADDING && rest < LINE ? end - rows * row_bytes : end;
}

/* A norm's scale that is zero throughout. */
static bool is_silent_norm(const struct tensor_entry *e)
{
    bool is_scale = span_ends(e->name, ".scale") || span_ends(e->name, ".weight");

    return is_scale && memmem(e->name.ptr, e->name.len, "norm", 4) &&
           is_zero(e->data, (const char *)e->data + e->bytes);
}

static enum err_code check_vector(struct proof *p, struct err *err)
{
    const char *bad;

    bad = bad_value(p, p->data, p->end);
    if (bad)
        return refuse_value(p, bad, err);
    return is_silent_norm(p->e) ? refuse_zeros(p, p->data, err) : ERR_OK;
}

enum err_code proof_tensor(const struct tensor_entry *e, const char *path, struct err *err)
{
    bool is_matrix = e->n_dims >= 2;
    struct proof p = {

        .e = e, .path = path, .data = e->data, .largest = is_matrix && e->dtype != DT_F8_E5M2 ? PROOF_LARGEST : FLT_MAX
    };

    if (e->dtype >= DT_COUNT || e->bytes == 0 || !e->data)
        return ERR_OK;
    set_limits(&p);
    if (!is_plain_float(e->dtype) && p.n_fields == 0)
        return ERR_OK;
    p.end = p.filled_end = p.data + e->bytes;
    if (!is_matrix)
        return check_vector(&p, err);
    p.zeros_are_holes = e->bytes >= (e->n_dims > 2 ? CONVOLUTION_MAY_BE_ZERO : MATRIX_MAY_BE_ZERO);
    p.hole_bytes = !p.zeros_are_holes ? PTRDIFF_MAX : p.block_bytes == 1 ? HOLE_PAGES_OF_BYTES * PAGE : PAGE;
    if (e->n_dims == 2 && e->dims[0] >= TABLE_ROWS)
        p.filled_end = end_of_table(e);
    TRY(check_ends(&p, err));
    return check_parts(&p, err);
}

/* How many zeros are a hole in a factor of a LoRA. A's rows are its inputs, which are never all zero for long; B may be
 * made of several layers' matrices along a diagonal, with zeros of nearly a row between them. */
static ptrdiff_t hole_in_factor(const struct tensor_entry *e)
{
    const size_t quarter = e->bytes / 4, row = e->bytes / (size_t)e->dims[0];
    const size_t hole = quarter > PAGE ? PAGE : quarter < SMALL_HOLE ? SMALL_HOLE : quarter;

    return (ptrdiff_t)(e->dims[0] > e->dims[1] && 2 * row > hole ? 2 * row : hole);
}

enum err_code proof_factor(const struct tensor_entry *e, const char *path, struct err *err)
{
    enum { STEP = SMALL_HOLE / 2 };
    struct proof p = { .e = e, .path = path, .data = e->data };

    if (e->dtype >= DT_COUNT || e->n_dims != 2 || e->bytes < SMALL_HOLE || !e->data)
        return ERR_OK;
    p.block_bytes = dtype_info(e->dtype)->block_bytes;
    p.end = p.filled_end = p.data + e->bytes;
    for (const char *from = p.data; p.end - from >= STEP; from += STEP) {
        struct zeros z;

        if (!is_zero(from, from + FIRST_BYTES) || !is_zero(from, from + STEP))
            continue;
        z = zeros_around(&p, from, from + STEP);
        if (z.end - z.begin >= hole_in_factor(e) &&
            ((z.begin > p.data && !is_row(&p, z.begin, true)) || (z.end < p.end && !is_row(&p, z.end, false))))
            return refuse_zeros(&p, z.begin, err);
        from = z.end - STEP > from ? z.end - STEP : from;
    }
    return ERR_OK;
}

/* Whether a part of a factor begins here: of q, k and v, or of these and the MLP, whose rows are seven times as many.
 */
static bool is_part(const struct proof *p, const char *at)
{
    const size_t rows = (size_t)p->e->dims[0], row = p->e->bytes / rows;

    return is_row(p, at, true) && ((size_t)(at - p->data) + row - 1) / row * 21 % rows == 0;
}

enum err_code proof_end_of_factors(const struct tensor_file *f, struct err *err)
{
    const char *end = f->map.ptr + f->map.len, *at = end;

    while (at > f->map.ptr && !at[-1])
        at--;
    for (const struct tensor_entry *e = f->entries; e < f->entries + f->n_entries; e++) {
        const char *data = e->data;
        struct proof p = { .e = e, .path = f->path, .data = data };

        const size_t row = e->n_dims == 2 && e->dims[0] > 0 ? e->bytes / (size_t)e->dims[0] : e->bytes;

        if (e->dtype >= DT_COUNT || e->n_dims < 1 || e->n_dims > 2 || at <= data || at >= data + e->bytes)
            continue;
        p.block_bytes = dtype_info(e->dtype)->block_bytes;
        if (end - at > LINE && (size_t)(end - at) > row && (e->n_dims == 1 || !is_part(&p, at)))
            return refuse_zeros(&p, at, err);
    }
    return ERR_OK;
}
