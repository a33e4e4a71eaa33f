#include "models/file/gguf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "models/file/name_index.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are read as the file stores them");

enum { HEADER_BYTES = 24, MIN_PAIR_BYTES = 8 + 1 + 4 + 1, MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8 };

/* Tensor types, indexed by their number in a file. dtype -1: not read, and listed for its name; of those, the blocks by
 * which a tensor's place can be checked. bytes 0: unknown, or numbers that were given up and meant several things. */
static const struct {
    const char *name;
    int dtype, block_elems, block_bytes;
} types[] = {
    [0] = { "F32", DT_F32 },
    [1] = { "F16", DT_F16 },
    [2] = { "Q4_0", DT_Q4_0 },
    [3] = { "Q4_1", DT_Q4_1 },
    [4] = { "Q4_2", -1 },
    [5] = { "Q4_3", -1 },
    [6] = { "Q5_0", DT_Q5_0 },
    [7] = { "Q5_1", DT_Q5_1 },
    [8] = { "Q8_0", DT_Q8_0 },
    [9] = { "Q8_1", -1 },
    [10] = { "Q2_K", DT_Q2_K },
    [11] = { "Q3_K", DT_Q3_K },
    [12] = { "Q4_K", DT_Q4_K },
    [13] = { "Q5_K", DT_Q5_K },
    [14] = { "Q6_K", DT_Q6_K },
    [15] = { "Q8_K", -1, 256, 292 },
    [16] = { "IQ2_XXS", -1, 256, 66 },
    [17] = { "IQ2_XS", -1, 256, 74 },
    [18] = { "IQ3_XXS", -1, 256, 98 },
    [19] = { "IQ1_S", -1, 256, 50 },
    [20] = { "IQ4_NL", DT_IQ4_NL },
    [21] = { "IQ3_S", -1, 256, 110 },
    [22] = { "IQ2_S", -1, 256, 82 },
    [23] = { "IQ4_XS", DT_IQ4_XS },
    [24] = { "I8", -1, 1, 1 },
    [25] = { "I16", -1, 1, 2 },
    [26] = { "I32", -1, 1, 4 },
    [27] = { "I64", -1, 1, 8 },
    [28] = { "F64", -1, 1, 8 },
    [29] = { "IQ1_M", -1, 256, 56 },
    [30] = { "BF16", DT_BF16 },
    [31] = { "Q4_0_4_4", -1 },
    [32] = { "Q4_0_4_8", -1 },
    [33] = { "Q4_0_8_8", -1 },
    [34] = { "TQ1_0", -1, 256, 54 },
    [35] = { "TQ2_0", -1, 256, 66 },
    [36] = { "IQ4_NL_4_4", -1 },
    [37] = { "IQ4_NL_4_8", -1 },
    [38] = { "IQ4_NL_8_8", -1 },
    [39] = { "MXFP4", -1, 32, 17 },
    [40] = { "NVFP4", -1, 64, 36 },
    [41] = { "Q1_0", -1, 128, 18 },
};
enum { N_TYPES = sizeof types / sizeof *types };

/* Bytes of a plain value; 0: string or array. */
static const unsigned char value_bytes[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
    [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
};

/* A position in the file. rc keeps the first failure; after it every read gives zeros. */
struct reader {
    struct span map;
    size_t at;
    bool survey; /* what cannot be used is listed all the same */
    struct err *err;
    enum err_code rc;
};

static size_t bytes_left(const struct reader *r)
{
    return r->map.len - r->at;
}

/* The next n bytes; NULL after a failure. */
static const char *take(struct reader *r, uint64_t n)
{
    const char *p = r->map.ptr + r->at;

    if (r->rc)
        return NULL;
    if (n > bytes_left(r)) {
        r->rc = err_set(r->err, ERR_CORRUPT, "GGUF: the file ends too early: %llu bytes wanted at byte %zu",
                        (unsigned long long)n, r->at);
        return NULL;
    }
    r->at += (size_t)n;
    return p;
}

static uint32_t take_u32(struct reader *r)
{
    const char *p = take(r, 4);
    uint32_t v = 0;

    if (p)
        memcpy(&v, p, 4);
    return v;
}

static uint64_t take_u64(struct reader *r)
{
    const char *p = take(r, 8);
    uint64_t v = 0;

    if (p)
        memcpy(&v, p, 8);
    return v;
}

static struct span take_string(struct reader *r, uint64_t max_bytes, const char *what)
{
    uint64_t n = take_u64(r);
    const char *p;

    if (!r->rc && n > max_bytes)
        r->rc = err_set(r->err, n > bytes_left(r) ? ERR_CORRUPT : ERR_TOO_LARGE,
                        "GGUF: a %s of %llu bytes at byte %zu; at most %llu are allowed", what, (unsigned long long)n,
                        r->at, (unsigned long long)max_bytes);
    p = take(r, n);
    return (struct span){ p ? p : "", p ? (size_t)n : 0 };
}

static struct span take_name(struct reader *r, uint64_t max_bytes, const char *what)
{
    struct span name = take_string(r, max_bytes, what);

    if (!r->rc && name.len == 0)
        r->rc = err_set(r->err, ERR_CORRUPT, "GGUF: an empty %s at byte %zu", what, r->at);
    return name;
}

static int take_count(struct reader *r, int max, const char *what)
{
    uint64_t n = take_u64(r);

    if (!r->rc && n > INT64_MAX)
        r->rc = err_set(r->err, ERR_CORRUPT, "GGUF: the number of %s is negative", what);
    if (!r->rc && n > (uint64_t)max)
        r->rc =
            err_set(r->err, ERR_TOO_LARGE, "GGUF: %llu %s; at most %d are supported", (unsigned long long)n, what, max);
    return r->rc ? 0 : (int)n;
}

/* Whether n things of at least min_bytes each can be in the rest of the file: asked before memory is taken for them. */
static enum err_code check_room(struct reader *r, int n, int min_bytes, const char *what)
{
    if (!r->rc && (uint64_t)n * (uint64_t)min_bytes > bytes_left(r))
        r->rc = err_set(r->err, ERR_CORRUPT, "GGUF: %d %s do not fit into the %zu bytes that are left", n, what,
                        bytes_left(r));
    return r->rc;
}

static void check_version(struct reader *r, uint32_t version)
{
    if (r->rc || version == 2 || version == 3)
        return;
    if (version != 0 && (version & 0xFFFF) == 0)
        r->rc =
            err_set(r->err, ERR_UNSUPPORTED, "GGUF: the file is big-endian; only little-endian files are supported");
    else
        r->rc = err_set(r->err, ERR_UNSUPPORTED, "GGUF: version %u is not supported; versions 2 and 3 are", version);
}

static enum err_code read_array(struct reader *r, struct gguf_pair *p)
{
    uint32_t type = take_u32(r);
    uint64_t n = take_u64(r);
    size_t start = r->at, least;

    if (r->rc)
        return r->rc;
    if (type == GGUF_ARRAY || type >= GGUF_TYPE_COUNT)
        return r->rc = err_set(r->err, ERR_CORRUPT, "GGUF: key '%.*s' is an array of type %u, which is not supported",
                               SPAN_ARG(p->key), type);
    least = type == GGUF_STRING ? 8 : value_bytes[type];
    if (n > bytes_left(r) / least)
        return r->rc = err_set(r->err, ERR_CORRUPT,
                               "GGUF: key '%.*s' is an array of %llu values, but only %zu bytes are left",
                               SPAN_ARG(p->key), (unsigned long long)n, bytes_left(r));
    p->is_array = true;
    p->type = (enum gguf_type)type;
    p->n = (int64_t)n;
    if (type != GGUF_STRING)
        (void)take(r, n * least);
    for (uint64_t i = 0; type == GGUF_STRING && i < n && !r->rc; i++)
        (void)take_string(r, GGUF_MAX_STRING_BYTES, "string");
    p->bytes = (struct span){ r->map.ptr + start, r->at - start };
    return r->rc;
}

static enum err_code read_pair(struct reader *r, struct gguf_pair *p)
{
    uint32_t type;
    const char *value;

    p->key = take_name(r, GGUF_MAX_KEY_BYTES, "key");
    type = take_u32(r);
    if (r->rc)
        return r->rc;
    if (type >= GGUF_TYPE_COUNT)
        return r->rc = err_set(r->err, ERR_CORRUPT, "GGUF: key '%.*s' has the unknown type %u", SPAN_ARG(p->key), type);
    if (type == GGUF_ARRAY)
        return read_array(r, p);
    p->type = (enum gguf_type)type;
    p->n = 1;
    if (type == GGUF_STRING) {
        p->bytes = take_string(r, GGUF_MAX_STRING_BYTES, "string");
    } else {
        value = take(r, value_bytes[type]);
        p->bytes = (struct span){ value, value ? value_bytes[type] : 0 };
    }
    return r->rc;
}

static enum err_code read_alignment(struct gguf_meta *m, struct err *err)
{
    const struct gguf_pair *p = gguf_find(m, "general.alignment");

    m->alignment = 32;
    if (!p)
        return ERR_OK;
    if (p->is_array || p->type != GGUF_U32)
        return err_set(err, ERR_CORRUPT, "GGUF: general.alignment is not a u32");
    memcpy(&m->alignment, p->bytes.ptr, 4);
    if (m->alignment < 8 || m->alignment > GGUF_MAX_ALIGNMENT || (m->alignment & (m->alignment - 1)))
        return err_set(err, ERR_CORRUPT, "GGUF: general.alignment is %u, which is not a power of two from 8 to %d",
                       m->alignment, GGUF_MAX_ALIGNMENT);
    return ERR_OK;
}

static enum err_code read_pairs(struct reader *r, struct arena *a, struct gguf_meta *m, int n)
{
    int twice;

    if (check_room(r, n, MIN_PAIR_BYTES, "key-value pairs"))
        return r->rc;
    r->rc = arena_alloc(a, (size_t)n, sizeof *m->pairs, &m->pairs, r->err);
    for (int i = 0; i < n && !r->rc; i++)
        r->rc = read_pair(r, &m->pairs[i]);
    if (r->rc)
        return r->rc;
    r->rc = name_index_build(a, m->pairs, n, sizeof *m->pairs, &m->index, &twice, r->err);
    if (!r->rc && twice >= 0)
        r->rc = err_set(r->err, ERR_CORRUPT, "GGUF: key '%.*s' comes twice", SPAN_ARG(m->pairs[twice].key));
    if (!r->rc) {
        m->n_pairs = n;
        r->rc = read_alignment(m, r->err);
    }
    return r->rc;
}

/* The file lists the contiguous dimension first, the directory last. */
static enum err_code read_dims(struct reader *r, struct tensor_entry *e)
{
    uint32_t n = take_u32(r);

    if (!r->rc && (n < 1 || n > TENSOR_MAX_DIMS))
        r->rc = err_set(r->err, ERR_CORRUPT, "GGUF: tensor '%.*s' has %u dimensions; 1 to %d are allowed",
                        SPAN_ARG(e->name), n, TENSOR_MAX_DIMS);
    if (r->rc)
        return r->rc;
    e->n_dims = (int)n;
    for (int i = e->n_dims - 1; i >= 0; i--) {
        uint64_t dim = take_u64(r);

        if (!r->rc && (dim < 1 || dim > (uint64_t)1 << 31))
            r->rc = err_set(r->err, ERR_CORRUPT, "GGUF: tensor '%.*s' has a dimension of %llu; 1 to 2^31 are allowed",
                            SPAN_ARG(e->name), (unsigned long long)dim);
        e->dims[i] = (int64_t)dim;
    }
    return r->rc;
}

/* Names a type of which the table knows nothing. */
static enum err_code name_type(uint32_t type, struct arena *a, struct tensor_entry *e, struct err *err)
{
    char *name = NULL;

    TRY(arena_printf(a, &name, err, "type %u", type));
    e->type_name = name;
    return ERR_OK;
}

/* *ret_block: of the values; bytes 0 where it is unknown. */
static enum err_code read_type(struct reader *r, struct arena *a, struct tensor_entry *e, struct dtype_info *ret_block)
{
    uint32_t type = take_u32(r);
    bool known = type < N_TYPES, usable = known && types[type].dtype >= 0;

    if (r->rc)
        return r->rc;
    if (!usable && !r->survey)
        return r->rc = err_set(r->err, ERR_UNSUPPORTED,
                               "GGUF: tensor '%.*s' has type %s (%u), which is not supported; use a file with another "
                               "quantisation, such as Q8_0",
                               SPAN_ARG(e->name), known ? types[type].name : "unknown", type);
    e->dtype = usable ? (enum dtype)types[type].dtype : DT_COUNT;
    if (!known) {
        *ret_block = (struct dtype_info){ NULL, 1, 0 };
        return r->rc = name_type(type, a, e, r->err);
    }
    e->type_name = types[type].name;
    *ret_block = usable ? *dtype_info(e->dtype)
                        : (struct dtype_info){ e->type_name, types[type].block_elems, types[type].block_bytes };
    return ERR_OK;
}

uint32_t gguf_tensor_type(enum dtype t)
{
    uint32_t type = 0;

    while (type < N_TYPES && types[type].dtype != (int)t)
        type++;
    return type;
}

/* A tensor whose block is unknown has 0 bytes. */
static enum err_code size_tensor(struct tensor_entry *e, const struct dtype_info *block, struct err *err)
{
    int64_t cols = e->dims[e->n_dims - 1], values = cols;
    size_t bytes = block->block_bytes ? (size_t)(cols / block->block_elems) * (size_t)block->block_bytes : 0;

    if (block->block_bytes && cols % block->block_elems)
        return err_set(err, ERR_CORRUPT, "GGUF: tensor '%.*s' has rows of %lld values, not whole blocks of %s",
                       SPAN_ARG(e->name), (long long)cols, e->type_name);
    for (int i = 0; i < e->n_dims - 1; i++)
        if (__builtin_mul_overflow(bytes, (size_t)e->dims[i], &bytes) ||
            __builtin_mul_overflow(values, e->dims[i], &values))
            return err_set(err, ERR_CORRUPT, "GGUF: the size of tensor '%.*s' overflows", SPAN_ARG(e->name));
    e->bytes = bytes;
    return ERR_OK;
}

/* One tensor info. *ret_offset: counted from the data, whose place in the file is not known yet. */
static enum err_code read_tensor(struct reader *r, struct arena *a, uint32_t alignment, struct tensor_entry *e,
                                 uint64_t *ret_offset)
{
    struct dtype_info block = { 0 };

    e->name = take_name(r, GGUF_MAX_NAME_BYTES, "tensor name");
    if (read_dims(r, e) || read_type(r, a, e, &block))
        return r->rc;
    *ret_offset = take_u64(r);
    if (r->rc)
        return r->rc;
    if (*ret_offset % alignment)
        return r->rc = err_set(r->err, ERR_CORRUPT, "GGUF: tensor '%.*s' has offset %llu, not a multiple of %u",
                               SPAN_ARG(e->name), (unsigned long long)*ret_offset, alignment);
    return r->rc = size_tensor(e, &block, r->err);
}

/* Where a tensor ends in the file, if files can be that long. */
static bool find_end(uint64_t start, uint64_t offset, size_t bytes, uint64_t *ret)
{
    return !__builtin_add_overflow(start, offset, ret) && !__builtin_add_overflow(*ret, bytes, ret) &&
           *ret <= TENSOR_FILE_MAX_BYTES;
}

static enum err_code place_tensors(struct reader *r, uint32_t alignment, struct tensor_file *f, const uint64_t *offsets)
{
    size_t start = (r->at + alignment - 1) / alignment * alignment;
    const struct tensor_entry *beyond = NULL;
    uint64_t end;

    for (int i = 0; i < f->n_entries; i++) {
        struct tensor_entry *e = &f->entries[i];

        if (!find_end(start, offsets[i], e->bytes, &end))
            return r->rc = err_set(r->err, ERR_CORRUPT, "GGUF: tensor '%.*s' reaches beyond the end of any file",
                                   SPAN_ARG(e->name));
        if (end > r->map.len) {
            beyond = beyond ? beyond : e;
            if ((int64_t)(end - r->map.len) > f->missing_bytes)
                f->missing_bytes = (int64_t)(end - r->map.len);
        } else if (e->bytes) {
            e->data = r->map.ptr + start + offsets[i];
        }
    }
    if (beyond && !r->survey)
        return r->rc = err_set(r->err, ERR_CORRUPT,
                               "GGUF: tensor '%.*s' reaches beyond the end of the file, which is %lld bytes short",
                               SPAN_ARG(beyond->name), (long long)f->missing_bytes);
    return ERR_OK;
}

static int compare_offsets(const void *x, const void *y, void *offsets)
{
    uint64_t a = ((const uint64_t *)offsets)[*(const int *)x], b = ((const uint64_t *)offsets)[*(const int *)y];

    return (a > b) - (a < b);
}

static enum err_code check_overlap(struct arena *a, const struct tensor_file *f, uint64_t *offsets, struct err *err)
{
    ARENA_SCRATCH(a);
    int *order = NULL;

    TRY(arena_alloc(a, (size_t)f->n_entries, sizeof *order, &order, err));
    for (int i = 0; i < f->n_entries; i++)
        order[i] = i;
    qsort_r(order, (size_t)f->n_entries, sizeof *order, compare_offsets, offsets);
    for (int i = 1; i < f->n_entries; i++) {
        const struct tensor_entry *before = &f->entries[order[i - 1]], *e = &f->entries[order[i]];

        if (offsets[order[i - 1]] + before->bytes > offsets[order[i]])
            return err_set(err, ERR_CORRUPT, "GGUF: tensors '%.*s' and '%.*s' overlap", SPAN_ARG(before->name),
                           SPAN_ARG(e->name));
    }
    return ERR_OK;
}

/* A signed or unsigned integer of 1, 2, 4 or 8 bytes. */
static bool read_int(const struct gguf_pair *p, int64_t *ret)
{
    bool is_signed = p->type == GGUF_I8 || p->type == GGUF_I16 || p->type == GGUF_I32 || p->type == GGUF_I64;
    unsigned spare_bits = 64 - 8 * (unsigned)p->bytes.len;
    uint64_t v = 0;

    if (p->type == GGUF_F32 || p->type == GGUF_F64 || p->type == GGUF_BOOL || p->type == GGUF_STRING)
        return false;
    memcpy(&v, p->bytes.ptr, p->bytes.len);
    if (!is_signed && v > INT64_MAX)
        return false;
    *ret = is_signed ? (int64_t)(v << spare_bits) >> spare_bits : (int64_t)v;
    return true;
}

static const char shape_key[] = "comfy.gguf.orig_shape.";

/* The shape that the metadata have for the tensor. *ret: unchanged but for n_dims and dims; n_dims -1: none. */
static enum err_code read_shape(const struct gguf_meta *from, struct tensor_entry *e, struct err *err)
{
    char key[sizeof shape_key + GGUF_MAX_NAME_BYTES];
    const struct gguf_pair *p;
    struct gguf_pair one;
    int i;

    memcpy(key, shape_key, sizeof shape_key - 1);
    memcpy(key + sizeof shape_key - 1, e->name.ptr, e->name.len);
    i = name_index_find(from->index, from->pairs, from->n_pairs, sizeof *from->pairs,
                        (struct span){ key, sizeof shape_key - 1 + e->name.len });
    e->n_dims = -1;
    if (i < 0)
        return ERR_OK;
    p = &from->pairs[i];
    if (!p->is_array || p->n > TENSOR_FILE_MAX_DIMS)
        return err_set(err, ERR_CORRUPT, "GGUF: key '%.*s' is not a list of at most %d numbers", SPAN_ARG(p->key),
                       TENSOR_FILE_MAX_DIMS);
    e->n_dims = (int)p->n;
    one = *p;
    for (i = 0; i < e->n_dims; i++) {
        one.bytes = (struct span){ p->bytes.ptr + i * value_bytes[p->type], value_bytes[p->type] };
        if (!read_int(&one, &e->dims[i]) || e->dims[i] < 1)
            return err_set(err, ERR_CORRUPT, "GGUF: key '%.*s' has a value that is not a whole number from 1 on",
                           SPAN_ARG(p->key));
    }
    return ERR_OK;
}

/* Whether both shapes have the same number of values, that of `e` not being known to be a sane one. */
static bool same_count(const struct tensor_entry *e, const struct tensor_entry *stored)
{
    int64_t n = 1, want = 1;

    for (int i = 0; i < stored->n_dims; i++)
        want *= stored->dims[i];
    for (int i = 0; i < e->n_dims; i++)
        if (__builtin_mul_overflow(n, e->dims[i], &n))
            return false;
    return n == want;
}

static enum err_code restore_shape(const struct gguf_meta *from, bool survey, struct tensor_entry *stored,
                                   struct err *err)
{
    struct tensor_entry e = *stored;
    int64_t cols;

    TRY(read_shape(from, &e, err));
    if (e.n_dims < 0)
        return ERR_OK;
    if (!same_count(&e, stored))
        return err_set(err, ERR_CORRUPT, "GGUF: tensor '%.*s' has not as many values as its shape in '%s%.*s'",
                       SPAN_ARG(e.name), shape_key, SPAN_ARG(e.name));
    cols = e.n_dims ? e.dims[e.n_dims - 1] : 1;
    if (e.dtype != DT_COUNT && cols % dtype_info(e.dtype)->block_elems) {
        if (!survey)
            return err_set(err, ERR_UNSUPPORTED,
                           "GGUF: tensor '%.*s' is %s, but rows of %lld values are not whole blocks of it: its shape "
                           "was changed for that ('%s...'); use a file in which it is F16 or BF16",
                           SPAN_ARG(e.name), e.type_name, (long long)cols, shape_key);
        e.dtype = DT_COUNT;
    }
    *stored = e;
    return ERR_OK;
}

enum err_code gguf_restore_shapes(const struct gguf_meta *from, bool survey, struct tensor_file *f, struct err *err)
{
    for (int i = 0; i < f->n_entries; i++)
        TRY(restore_shape(from, survey, &f->entries[i], err));
    return ERR_OK;
}

static enum err_code read_tensors(struct reader *r, struct arena *a, struct tensor_file *f, int n)
{
    uint64_t *offsets = NULL;
    int twice;

    if (check_room(r, n, MIN_TENSOR_BYTES, "tensors"))
        return r->rc;
    r->rc = arena_alloc(a, (size_t)n, sizeof *f->entries, &f->entries, r->err);
    if (!r->rc)
        r->rc = arena_alloc(a, (size_t)n, sizeof *offsets, &offsets, r->err);
    for (int i = 0; i < n && !r->rc; i++)
        r->rc = read_tensor(r, a, f->gguf->alignment, &f->entries[i], &offsets[i]);
    if (r->rc)
        return r->rc;
    f->n_entries = n;
    r->rc = name_index_build(a, f->entries, n, sizeof *f->entries, &f->index, &twice, r->err);
    if (!r->rc && twice >= 0)
        r->rc = err_set(r->err, ERR_CORRUPT, "GGUF: tensor '%.*s' comes twice", SPAN_ARG(f->entries[twice].name));
    if (r->rc || place_tensors(r, f->gguf->alignment, f, offsets))
        return r->rc;
    r->rc = check_overlap(a, f, offsets, r->err);
    return r->rc ? r->rc : (r->rc = gguf_restore_shapes(f->gguf, r->survey, f, r->err));
}

static enum err_code read_file(struct span map, bool survey, struct arena *a, struct tensor_file *ret, struct err *err)
{
    struct reader r = { .map = map, .survey = survey, .err = err };
    struct tensor_file f = { .map = map };
    int n_tensors, n_pairs;

    if (map.len < HEADER_BYTES || memcmp(map.ptr, "GGUF", 4) != 0)
        return err_set(err, ERR_CORRUPT, "GGUF: %s",
                       map.len < HEADER_BYTES ? "the file ends in its header" : "the file does not begin with 'GGUF'");
    r.at = 4;
    TRY(arena_alloc(a, 1, sizeof *f.gguf, &f.gguf, err));
    f.gguf->version = take_u32(&r);
    check_version(&r, f.gguf->version);
    n_tensors = take_count(&r, TENSOR_FILE_MAX_TENSORS, "tensors");
    n_pairs = take_count(&r, GGUF_MAX_PAIRS, "key-value pairs");
    if (r.rc || read_pairs(&r, a, f.gguf, n_pairs) || read_tensors(&r, a, &f, n_tensors))
        return r.rc;
    f.path = ret->path;
    *ret = f;
    return ERR_OK;
}

enum err_code gguf_parse(struct span map, struct arena *a, struct tensor_file *ret, struct err *err)
{
    return read_file(map, false, a, ret, err);
}

enum err_code gguf_survey(struct span map, struct arena *a, struct tensor_file *ret, struct err *err)
{
    return read_file(map, true, a, ret, err);
}

const struct gguf_pair *gguf_find(const struct gguf_meta *m, const char *key)
{
    int i = m ? name_index_find(m->index, m->pairs, m->n_pairs, sizeof *m->pairs, span_of(key)) : -1;

    return i < 0 ? NULL : &m->pairs[i];
}

static const struct gguf_pair *find_plain(const struct gguf_meta *m, const char *key)
{
    const struct gguf_pair *p = gguf_find(m, key);

    return p && !p->is_array ? p : NULL;
}

bool gguf_string(const struct gguf_meta *m, const char *key, struct span *ret)
{
    const struct gguf_pair *p = find_plain(m, key);

    if (!p || p->type != GGUF_STRING)
        return false;
    *ret = p->bytes;
    return true;
}

bool gguf_int(const struct gguf_meta *m, const char *key, int64_t *ret)
{
    const struct gguf_pair *p = find_plain(m, key);

    return p && read_int(p, ret);
}

static enum err_code find_array(const struct gguf_meta *m, const char *key, enum gguf_type type, enum gguf_type or_type,
                                const struct gguf_pair **ret, struct err *err)
{
    const struct gguf_pair *p = gguf_find(m, key);

    if (!p)
        return err_set(err, ERR_NOT_FOUND, "GGUF: key '%s' is missing", key);
    if (!p->is_array || (p->type != type && p->type != or_type))
        return err_set(err, ERR_CORRUPT, "GGUF: key '%s' is not an array of the expected type", key);
    *ret = p;
    return ERR_OK;
}

enum err_code gguf_strings(const struct gguf_meta *m, const char *key, struct arena *a, struct span **ret,
                           int64_t *ret_n, struct err *err)
{
    const struct gguf_pair *p = NULL;
    struct span *strings = NULL;

    TRY(find_array(m, key, GGUF_STRING, GGUF_STRING, &p, err));
    TRY(arena_alloc(a, (size_t)p->n, sizeof *strings, &strings, err));
    for (size_t i = 0, at = 0; i < (size_t)p->n; i++) { /* lengths were checked when the file was opened */
        uint64_t len;

        memcpy(&len, p->bytes.ptr + at, 8);
        strings[i] = (struct span){ p->bytes.ptr + at + 8, (size_t)len };
        at += 8 + (size_t)len;
    }
    *ret = strings;
    *ret_n = p->n;
    return ERR_OK;
}

/* An array of 4-byte values. */
static enum err_code copy_words(const struct gguf_pair *p, struct arena *a, void *ret, int64_t *ret_n, struct err *err)
{
    void *words = NULL;

    TRY(arena_alloc(a, (size_t)p->n, 4, &words, err));
    if (p->n)
        memcpy(words, p->bytes.ptr, p->bytes.len);
    *(void **)ret = words;
    *ret_n = p->n;
    return ERR_OK;
}

enum err_code gguf_floats(const struct gguf_meta *m, const char *key, struct arena *a, float **ret, int64_t *ret_n,
                          struct err *err)
{
    const struct gguf_pair *p = NULL;

    TRY(find_array(m, key, GGUF_F32, GGUF_F32, &p, err));
    return copy_words(p, a, ret, ret_n, err);
}

enum err_code gguf_ints(const struct gguf_meta *m, const char *key, struct arena *a, int32_t **ret, int64_t *ret_n,
                        struct err *err)
{
    const struct gguf_pair *p = NULL;

    TRY(find_array(m, key, GGUF_I32, GGUF_U32, &p, err));
    TRY(copy_words(p, a, ret, ret_n, err));
    for (int64_t i = 0; p->type == GGUF_U32 && i < p->n; i++)
        if ((*ret)[i] < 0)
            return err_set(err, ERR_CORRUPT, "GGUF: key '%s' contains a number of 2^31 or more", key);
    return ERR_OK;
}

enum err_code gguf_bytes(const struct gguf_meta *m, const char *key, struct span *ret, struct err *err)
{
    const struct gguf_pair *p = NULL;

    TRY(find_array(m, key, GGUF_U8, GGUF_I8, &p, err));
    *ret = p->bytes;
    return ERR_OK;
}
