#include "models/weights/weight_make.h"

#include <float.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernels/base/host_memory.h"
#include "kernels/quant.h"
#include "kernels/quantise.h"
#include "models/file/proof.h"

enum { CHUNK_ROWS = 32 };

/* Whether the pieces' bytes, put together, are the tensor. */
static bool only_joins(const struct weight_source *s)
{
    return weight_source_only_joins(s, s->pieces[0].entry->dtype);
}

static bool is_float16_or_32(enum dtype t)
{
    return t == DT_F32 || t == DT_F16 || t == DT_BF16;
}

enum dtype weight_make_type(const struct weight_source *s, enum dtype act)
{
    bool quantised = false;

    if (only_joins(s))
        return s->pieces[0].entry->dtype;
    for (int i = 0; i < s->n_pieces; i++)
        quantised |= !is_float16_or_32(s->pieces[i].entry->dtype);
    if (act != DT_BF16)
        return DT_F32;
    return s->n_patches && quantised && dtype_row_bytes(DT_Q8_0, weight_source_cols(s)) ? DT_Q8_0 : DT_BF16;
}

struct room {
    void *start;
    size_t bytes;
};

static void give_back(void *ptr)
{
    struct room *room = ptr;

    (void)munmap(room->start, room->bytes);
    free(room);
}

enum err_code weight_make_room(const struct weight_source *s, enum dtype type, struct arena *a, void **ret,
                               struct err *err)
{
    const size_t bytes = (size_t)weight_source_rows(s) * dtype_row_bytes(type, weight_source_cols(s));
    const int64_t available = host_memory_available();
    struct room *room;
    enum err_code rc;

    if (available >= 0 && (int64_t)bytes > available)
        return err_set(err, ERR_NOMEM,
                       "tensor '%s' takes %.2f GB of memory once it is put together, and %.2f GB are left: write the "
                       "transformer anew with `convert`, and load that file",
                       s->name, (double)bytes / 1e9, (double)available / 1e9);
    room = malloc(sizeof *room);
    if (room)
        *room = (struct room){ mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), bytes };
    if (!room || room->start == MAP_FAILED) {
        free(room);
        return err_set(err, ERR_NOMEM, "tensor '%s': no memory of %.2f GB", s->name, (double)bytes / 1e9);
    }
    rc = arena_defer(a, give_back, room, err);
    if (rc)
        give_back(room);
    else
        *ret = room->start;
    return rc;
}

/* --- values --- */

static void join_rows(const struct weight_source *s, int64_t row0, int64_t n, size_t row_bytes, char *ret)
{
    for (int64_t r = row0; r < row0 + n; r++) {
        int64_t row;
        const struct weight_piece *p = weight_source_row(s, r, &row);

        memcpy(ret + (size_t)(r - row0) * row_bytes, (const char *)p->entry->data + (size_t)row * row_bytes, row_bytes);
    }
}

/* Rows of new values; false: one is not finite or, where patches made it, larger than any weight of a trained model.
 * `values` has room for them. */
static bool make_rows(const struct weight_source *s, int64_t row0, int64_t n, enum dtype type, float *values, char *ret)
{
    const int64_t cols = weight_source_cols(s);

    weight_source_read(s, row0, n, values);
    quantise_row(type, values, ret, n * cols);
    return values_are_within(values, n * cols, s->n_patches ? PROOF_LARGEST : FLT_MAX);
}

static enum err_code refuse(const struct weight_source *s, const char *path, struct err *err)
{
    if (s->n_patches)
        return err_set(err, ERR_CORRUPT,
                       "tensor '%s' comes to NaN or to more than %g with the LoRAs merged, which no trained weight is: "
                       "take a smaller scale, or other LoRAs",
                       s->name, (double)PROOF_LARGEST);
    return err_set(err, ERR_CORRUPT, "%s: tensor '%s' comes to NaN or infinity; fetch the file again", path, s->name);
}

enum err_code weight_make(const struct weight_source *s, enum dtype type, const char *path, struct arena *scratch,
                          void *ret, struct err *err)
{
    ARENA_SCRATCH(scratch);
    const int64_t rows = weight_source_rows(s), cols = weight_source_cols(s);
    const int64_t n_chunks = (rows + CHUNK_ROWS - 1) / CHUNK_ROWS;
    const size_t row_bytes = dtype_row_bytes(type, cols), chunk_values = (size_t)(CHUNK_ROWS * cols);
    const bool joins = only_joins(s);
    const int n_threads = omp_get_max_threads();
    float *values = NULL;
    bool good = true;

    if (!joins)
        TRY(arena_alloc(scratch, (size_t)n_threads * chunk_values, sizeof *values, &values, err));
#pragma omp parallel for num_threads(n_threads) schedule(static) reduction(&& : good)
    for (int64_t chunk = 0; chunk < n_chunks; chunk++) {
        const int64_t row0 = chunk * CHUNK_ROWS, n = rows - row0 < CHUNK_ROWS ? rows - row0 : CHUNK_ROWS;
        char *to = (char *)ret + (size_t)row0 * row_bytes;

        if (joins)
            join_rows(s, row0, n, row_bytes, to);
        else
            good = make_rows(s, row0, n, type, values + (size_t)omp_get_thread_num() * chunk_values, to) && good;
    }
    return good ? ERR_OK : refuse(s, path, err);
}
