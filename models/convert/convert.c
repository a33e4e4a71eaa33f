#include "models/convert/convert.h"

#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/mapping.h"
#include "kernels/quant.h"
#include "kernels/quantise.h"
#include "models/file/file_map.h"
#include "models/file/proof.h"

enum {
    N_GENERAL = 4,          /* pairs that every file has */
    CHUNK_BYTES = 32 << 20, /* of the file, written at once */
    PART_VALUES = 1 << 17   /* computed by one thread at once: what its cache can hold */
};

/* --- the plan --- */

struct planning {
    const struct weight_set *set;
    const struct convert_types *types;
    struct arena *a;
    struct gguf_write_tensor *tensors;
    struct weight_source *sources;
    int n, n_patched;
};

static enum err_code count_tensor(void *ctx, const char *name, int n_dims, const int64_t dims[2], struct err *err)
{
    (void)name;
    (void)n_dims;
    (void)dims;
    (void)err;
    ++*(int *)ctx;
    return ERR_OK;
}

/* The name under which the input has a tensor: some converters call the scale of a norm its weight. */
static enum err_code name_in_input(const struct planning *p, const char *name, const char **ret, struct err *err)
{
    static const char scale[] = ".scale";
    int stem = (int)(strlen(name) - strlen(scale));
    char *other = NULL;

    *ret = name;
    if (weight_set_has(p->set, "%s", name) || !span_ends(span_of(name), scale) ||
        !weight_set_has(p->set, "%.*s.weight", stem, name))
        return ERR_OK;
    TRY(arena_printf(p->a, &other, err, "%.*s.weight", stem, name));
    *ret = other;
    return ERR_OK;
}

static enum err_code check_shape(const struct planning *p, const struct weight_source *s, int n_dims,
                                 const int64_t dims[2], struct err *err)
{
    int64_t rows = weight_source_rows(s), cols = weight_source_cols(s), want = n_dims > 1 ? dims[1] : 1;

    if (rows == dims[0] && cols == want && (s->n_dims > 1) == (n_dims > 1))
        return ERR_OK;
    return err_set(err, ERR_CORRUPT, "%s: tensor '%s' has the shape [%lld, %lld] instead of [%lld, %lld]",
                   weight_set_file_of(p->set, s->pieces[0].entry)->path, s->name, (long long)rows, (long long)cols,
                   (long long)dims[0], (long long)want);
}

static enum err_code plan_tensor(void *ctx, const char *name, int n_dims, const int64_t dims[2], struct err *err)
{
    struct planning *p = ctx;
    char *kept = NULL;

    TRY(span_dup(p->a, span_of(name), &kept, err));
    p->tensors[p->n++] = (struct gguf_write_tensor){ .name = kept,
                                                     .dtype = convert_type_of(p->types, name, n_dims, dims),
                                                     .n_dims = n_dims,
                                                     .dims = { dims[0], n_dims > 1 ? dims[1] : 0 } };
    return ERR_OK;
}

/* Room for the tensors of a transformer of these sizes, and what they will be. */
static enum err_code plan_tensors(struct planning *p, const struct flux_config *c, struct err *err)
{
    int n = 0;

    TRY(flux_describe(c, count_tensor, &n, err));
    TRY(arena_alloc(p->a, (size_t)n, sizeof *p->tensors, &p->tensors, err));
    return flux_describe(c, plan_tensor, p, err);
}

static enum err_code find_sources(struct planning *p, struct err *err)
{
    TRY(arena_alloc(p->a, (size_t)p->n, sizeof *p->sources, &p->sources, err));
    for (int i = 0; i < p->n; i++) {
        struct weight_source *s = &p->sources[i];
        const char *name = NULL;

        TRY(name_in_input(p, p->tensors[i].name, &name, err));
        TRY(weight_set_source(p->set, name, s, err));
        TRY(check_shape(p, s, p->tensors[i].n_dims, p->tensors[i].dims, err));
        weight_set_take(p->set, s);
        p->n_patched += s->n_patches > 0;
    }
    return ERR_OK;
}

/* A name that fits nothing is a slip of the pen, and would give another file than was meant. */
static enum err_code check_keeps(const struct planning *p, struct err *err)
{
    for (int k = 0; k < p->types->n_keeps; k++) {
        const struct convert_keep *keep = &p->types->keeps[k];
        bool fits = false;

        for (int i = 0; i < p->n && !fits; i++)
            fits = p->tensors[i].n_dims > 1 && strstr(p->tensors[i].name, "_blocks.") &&
                   convert_keeps(keep, p->tensors[i].name);
        if (!fits)
            return err_set(err, ERR_INVALID, "no matrix of the model's blocks has '%.80s' in its name", keep->part);
    }
    return ERR_OK;
}

static enum err_code add_pairs(const struct convert_options *o, struct arena *a, struct gguf_outline *ret,
                               struct err *err)
{
    const struct gguf_write_pair general[N_GENERAL] = {
        { .key = "general.architecture", .type = GGUF_WRITE_TEXT, .text = "flux" },
        { .key = "general.quantization_version", .type = GGUF_WRITE_NUMBER, .number = 2 },
        { .key = "general.file_type", .type = GGUF_WRITE_NUMBER, .number = convert_file_type(o->types.type) },
        { .key = "general.name", .type = GGUF_WRITE_TEXT, .text = "FLUX.1-Fill" },
    };
    struct gguf_write_pair *pairs = NULL;

    ret->n_pairs = N_GENERAL + o->n_notes;
    TRY(arena_alloc(a, (size_t)ret->n_pairs, sizeof *pairs, &pairs, err));
    memcpy(pairs, general, sizeof general);
    if (o->n_notes)
        memcpy(pairs + N_GENERAL, o->notes, (size_t)o->n_notes * sizeof *pairs);
    ret->pairs = pairs;
    return ERR_OK;
}

enum err_code convert_plan_make(const struct weight_set *set, const struct convert_options *o, struct arena *a,
                                struct convert_plan *ret, struct err *err)
{
    struct planning p = { .set = set, .types = &o->types, .a = a };
    struct convert_plan plan = { .set = set };
    struct flux_config config;

    TRY(flux_read_config(set, &config, err));
    TRY(flux_require_fill(&config, err));
    TRY(plan_tensors(&p, &config, err));
    TRY(find_sources(&p, err));
    TRY(weight_set_check_taken(set, &plan.n_others, err));
    TRY(check_keeps(&p, err));
    TRY(add_pairs(o, a, &plan.outline, err));
    plan.outline.tensors = p.tensors;
    plan.outline.n_tensors = p.n;
    plan.sources = p.sources;
    plan.n_patched = p.n_patched;
    TRY(gguf_outline_bytes(&plan.outline, &plan.file_bytes, err));
    *ret = plan;
    return ERR_OK;
}

enum err_code convert_fill_bytes(const struct convert_types *t, struct arena *scratch, int64_t *ret, struct err *err)
{
    ARENA_SCRATCH(scratch);
    struct planning p = { .types = t, .a = scratch };
    struct gguf_outline outline = { 0 };

    TRY(plan_tensors(&p, &flux_fill_config, err));
    TRY(add_pairs(&(struct convert_options){ .types = *t }, scratch, &outline, err));
    outline.tensors = p.tensors;
    outline.n_tensors = p.n;
    return gguf_outline_bytes(&outline, ret, err);
}

/* --- values --- */

/* A tensor as rows of the file; a vector is one row. */
struct work {
    const struct weight_source *source;
    enum dtype type;
    int64_t rows, cols;
    size_t row_bytes;
    bool copied; /* the rows of the input are the rows of the file */
    float limit; /* the largest magnitude that can be stored */
};

static bool is_copied(const struct weight_source *s, enum dtype type)
{
    return weight_source_only_joins(s, type) && (s->n_dims > 1 || (s->n_pieces == 1 && !s->halves_swapped));
}

static float limit_of(enum dtype t)
{
    return t == DT_F32 ? FLT_MAX : t == DT_BF16 ? bf16_to_f32(0x7f7f) : f16_to_f32(0x7bff);
}

static struct work work_of(const struct convert_plan *p, int i)
{
    const struct gguf_write_tensor *t = &p->outline.tensors[i];
    struct work w = { .source = &p->sources[i], .type = t->dtype };

    w.rows = t->n_dims > 1 ? t->dims[0] : 1;
    w.cols = t->dims[t->n_dims - 1];
    w.row_bytes = dtype_row_bytes(t->dtype, w.cols);
    w.copied = is_copied(w.source, t->dtype);
    w.limit = w.copied ? FLT_MAX : w.source->n_patches && t->n_dims > 1 ? PROOF_LARGEST : limit_of(t->dtype);
    return w;
}

static int64_t rows_in(int64_t most, int64_t one, int64_t rows)
{
    int64_t n = most / one > 1 ? most / one : 1;

    return n < rows ? n : rows;
}

/* Where a row of the tensor is in the input. */
static const char *row_of_input(const struct weight_source *s, int64_t row, size_t row_bytes)
{
    int64_t in_piece;
    const struct weight_piece *p = weight_source_row(s, row, &in_piece);

    return (const char *)p->entry->data + (size_t)in_piece * row_bytes;
}

/* The first value that is NaN, infinite or over the limit; n: none. */
static int64_t find_bad(const float *values, int64_t n, float limit)
{
    int64_t i;

    for (i = values_are_within(values, n, limit) ? n : 0; i < n && fabsf(values[i]) <= limit; i++)
        ;
    return i;
}

/* Rows row0 .. row0 + n - 1 of the file. Returns the number of the first bad value in `values`, or the number of all.
 */
static int64_t make_rows(const struct work *w, int64_t row0, int64_t n, float *values, char *ret)
{
    int64_t bad;

    for (int64_t r = 0; w->copied && r < n; r++) {
        const char *row = row_of_input(w->source, row0 + r, w->row_bytes);

        memcpy(ret + (size_t)r * w->row_bytes, row, w->row_bytes);
        dequantise_row(w->type, row, values + r * w->cols, w->cols);
    }
    if (!w->copied)
        weight_source_read(w->source, row0, w->source->n_dims > 1 ? n : w->cols, values);
    bad = find_bad(values, n * w->cols, w->limit);
    if (!w->copied && bad == n * w->cols)
        quantise_row(w->type, values, ret, bad);
    return bad;
}

/* --- the stream --- */

struct stream {
    const struct convert_plan *plan;
    const struct convert_watch *watch;
    struct gguf_writer *writer;
    int64_t chunk_bytes, part_values; /* at most, but for longer rows */
    char *chunks[2];
    int next;       /* the chunk that is computed */
    size_t waiting; /* bytes of the other chunk, which are to be written */
    float *values;  /* for each thread */
    size_t room;    /* values of one thread */
    int n_threads;
    int64_t done; /* bytes given to the writer */
};

/* The first value that cannot be stored; at -1: none. */
struct bad {
    int64_t at; /* in the tensor */
    float value;
};

static void note_bad(struct bad *b, int64_t at, float value)
{
#pragma omp critical(convert_bad)
    if (b->at < 0 || at < b->at)
        *b = (struct bad){ at, value };
}

static enum err_code refuse(const struct stream *s, const struct work *w, const struct bad *bad, struct err *err)
{
    const struct weight_source *source = w->source;
    const char *path = weight_set_file_of(s->plan->set, source->pieces[0].entry)->path;
    long long row = bad->at / w->cols, col = bad->at % w->cols;

    if (source->n_patches)
        return err_set(err, ERR_CORRUPT,
                       "tensor '%s' comes to %g in row %lld, column %lld with the LoRAs merged; a trained weight is at "
                       "most %g: take a smaller scale, or other LoRAs",
                       source->name, (double)bad->value, row, col, (double)PROOF_LARGEST);
    if (isfinite(bad->value))
        return err_set(err, ERR_CORRUPT,
                       "%s: tensor '%s' holds %g in row %lld, column %lld, and %s holds %g at most: convert to BF16",
                       path, source->name, (double)bad->value, row, col, dtype_info(w->type)->name, (double)w->limit);
    return err_set(
        err, ERR_CORRUPT,
        "%s: tensor '%s' holds NaN or infinity in row %lld, column %lld: the file is damaged, fetch it again", path,
        source->name, row, col);
}

/* Rows row0 .. row0 + n - 1 become the next chunk, while one thread writes the chunk before. */
static enum err_code make_chunk(struct stream *s, const struct work *w, int64_t row0, int64_t n, struct err *err)
{
    const int64_t part = rows_in(s->part_values, w->cols, n), n_parts = (n + part - 1) / part;
    char *chunk = s->chunks[s->next];
    struct bad bad = { .at = -1 };
    enum err_code rc = ERR_OK;

#pragma omp parallel num_threads(s->n_threads)
    {
        float *values = s->values + (size_t)omp_get_thread_num() * s->room;

#pragma omp single nowait
        rc = gguf_write_data(s->writer, s->chunks[!s->next], s->waiting, err);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < n_parts; i++) {
            int64_t first = i * part, rows = n - first < part ? n - first : part;
            int64_t at = make_rows(w, row0 + first, rows, values, chunk + (size_t)first * w->row_bytes);

            if (at < rows * w->cols)
                note_bad(&bad, (row0 + first) * w->cols + at, values[at]);
        }
    }
    s->done += (int64_t)s->waiting;
    s->waiting = (size_t)n * w->row_bytes;
    s->next = !s->next;
    if (rc)
        return rc;
    return bad.at < 0 ? ERR_OK : refuse(s, w, &bad, err);
}

static void announce(const struct weight_source *s)
{
    for (int i = 0; i < s->n_pieces; i++)
        mapping_announce(s->pieces[i].entry->data, s->pieces[i].entry->bytes);
}

static void release(const struct weight_source *s)
{
    for (int i = 0; i < s->n_pieces; i++)
        mapping_release(s->pieces[i].entry->data, s->pieces[i].entry->bytes);
}

static enum err_code report(const struct stream *s, struct err *err)
{
    const struct convert_watch *w = s->watch;

    if (w->progress)
        w->progress(w->ctx, s->done, s->plan->file_bytes);
    if (w->cancelled && w->cancelled(w->ctx))
        return err_set(err, ERR_CANCELLED, "stopped; no file was written");
    return ERR_OK;
}

/* What a download left unfinished is not worth converting; and where it is, it must not look like a model. */
static enum err_code prove(const struct convert_plan *p, const struct weight_source *s, struct err *err)
{
    for (int i = 0; i < s->n_pieces; i++) {
        const struct tensor_entry *e = s->pieces[i].entry;

        TRY(proof_tensor(e, weight_set_file_of(p->set, e)->path, err));
    }
    return ERR_OK;
}

static enum err_code make_tensor(struct stream *s, int i, struct err *err)
{
    const struct work w = work_of(s->plan, i);
    const int64_t most = rows_in(s->chunk_bytes, (int64_t)w.row_bytes, w.rows);

    if (i + 1 < s->plan->outline.n_tensors)
        announce(&s->plan->sources[i + 1]);
    TRY(prove(s->plan, w.source, err));
    for (int64_t row = 0; row < w.rows; row += most) {
        TRY(report(s, err));
        TRY(make_chunk(s, &w, row, w.rows - row < most ? w.rows - row : most, err));
    }
    release(w.source);
    return ERR_OK;
}

static enum err_code make_all(struct stream *s, struct err *err)
{
    for (int i = 0; i < s->plan->outline.n_tensors; i++)
        TRY(make_tensor(s, i, err));
    TRY(gguf_write_data(s->writer, s->chunks[!s->next], s->waiting, err));
    s->done = s->plan->file_bytes;
    return report(s, err);
}

/* Memory for the largest chunk and the longest rows. */
static enum err_code take_memory(struct stream *s, struct arena *a, struct err *err)
{
    size_t chunk = 0;

    s->n_threads = omp_get_max_threads();
    for (int i = 0; i < s->plan->outline.n_tensors; i++) {
        const struct work w = work_of(s->plan, i);
        size_t bytes = (size_t)rows_in(s->chunk_bytes, (int64_t)w.row_bytes, w.rows) * w.row_bytes;
        size_t values = (size_t)(rows_in(s->part_values, w.cols, w.rows) * w.cols);

        chunk = bytes > chunk ? bytes : chunk;
        s->room = values > s->room ? values : s->room;
    }
    TRY(arena_alloc(a, 1, chunk, &s->chunks[0], err));
    TRY(arena_alloc(a, 1, chunk, &s->chunks[1], err));
    return arena_alloc(a, (size_t)s->n_threads * s->room, sizeof *s->values, &s->values, err);
}

enum err_code convert_write(const struct convert_plan *p, const char *path, const struct convert_watch *watch,
                            struct arena *scratch, struct err *err)
{
    ARENA_SCRATCH(scratch);
    struct stream s = { .plan = p, .watch = watch, .chunk_bytes = CHUNK_BYTES, .part_values = PART_VALUES };
    enum err_code rc, closed;

    if (watch->chunk_bytes) {
        s.chunk_bytes = watch->chunk_bytes;
        s.part_values = watch->chunk_bytes / (int64_t)sizeof *s.values;
    }
    TRY(take_memory(&s, scratch, err));
    TRY(gguf_write_open(&s.writer, path, &p->outline, watch->listener, err));
    rc = file_map_verdict(make_all(&s, err), err); /* what was computed from a lost file is worthless */
    closed = gguf_write_close(s.writer, rc ? OUT_FILE_DISCARD : OUT_FILE_KEEP, err);
    return rc ? rc : closed;
}
