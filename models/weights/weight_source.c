#include "models/weights/weight_source.h"

#include <string.h>

#include "kernels/quant.h"
#include "models/file/file_map.h"

int64_t weight_source_rows(const struct weight_source *s)
{
    return s->n_dims ? s->dims[0] : 1;
}

int64_t weight_source_cols(const struct weight_source *s)
{
    int64_t n = 1;

    for (int i = 1; i < s->n_dims; i++)
        n *= s->dims[i];
    return n;
}

const struct weight_piece *weight_source_row(const struct weight_source *s, int64_t row, int64_t *ret_row)
{
    const struct weight_piece *p = s->pieces, *last = s->pieces + s->n_pieces - 1;
    const int64_t rows = weight_source_rows(s);

    if (s->n_dims > 1 && s->halves_swapped)
        row = (row + rows / 2) % rows;
    for (; s->n_dims > 1 && p < last && row >= p->entry->dims[0]; p++)
        row -= p->entry->dims[0];
    *ret_row = row;
    return p;
}

bool weight_source_only_joins(const struct weight_source *s, enum dtype type)
{
    bool same = !s->n_patches;

    for (int i = 0; i < s->n_pieces; i++)
        same = same && !s->pieces[i].scale && s->pieces[i].entry->dtype == type;
    return same;
}

float weight_scale_value(const struct tensor_entry *scale, int64_t i)
{
    const size_t bytes = (size_t)dtype_info(scale->dtype)->block_bytes;
    float v;

    err_ignore(file_map_wait(scale->data, scale->bytes, NULL)); /* the matrix's own wait fails as well */
    dequantise_row(scale->dtype, (const char *)scale->data + (size_t)i * bytes, &v, 1);
    return v;
}

/* Multiplies a row of a piece with its scale: one value, one a row, or one a block. */
static void apply_scale(const struct weight_piece *p, int64_t row, int64_t cols, float *values)
{
    const struct tensor_entry *scale = p->scale;
    const int64_t n = scale->n_dims ? scale->dims[0] : 1;
    const bool in_rows = n > 1 && n == p->entry->dims[0],
               in_blocks = !in_rows && scale->n_dims == 2 && n * scale->dims[1] > 1;
    const int64_t first = in_rows ? row : in_blocks ? row / WEIGHT_SCALE_BLOCK * scale->dims[1] : 0;

    for (int64_t c = 0; c < cols; c += WEIGHT_SCALE_BLOCK) {
        const float v = weight_scale_value(scale, in_blocks ? first + c / WEIGHT_SCALE_BLOCK : first);

        for (int64_t i = c; i < cols && i < c + WEIGHT_SCALE_BLOCK; i++)
            values[i] *= v;
    }
}

static void read_row(const struct weight_piece *p, int64_t row, int64_t cols, float *ret)
{
    const size_t bytes = dtype_row_bytes(p->entry->dtype, cols);

    dequantise_row(p->entry->dtype, (const char *)p->entry->data + (size_t)row * bytes, ret, cols);
    if (p->scale)
        apply_scale(p, row, cols, ret);
}

static void read_matrix(const struct weight_source *s, int64_t row0, int64_t n, int64_t cols, float *ret)
{
    for (int64_t r = row0; r < row0 + n; r++) {
        int64_t row;
        const struct weight_piece *p = weight_source_row(s, r, &row);

        read_row(p, row, cols, ret + (r - row0) * cols);
    }
}

static void swap_halves(float *values, int64_t n)
{
    for (int64_t i = 0; i < n / 2; i++) {
        const float v = values[i];

        values[i] = values[i + n / 2];
        values[i + n / 2] = v;
    }
}

static void read_vector(const struct weight_source *s, int64_t n, float *ret)
{
    int64_t at = 0;

    for (const struct weight_piece *p = s->pieces; p < s->pieces + s->n_pieces; p++) {
        const int64_t len = s->n_dims ? p->entry->dims[0] : 1;

        read_row(p, 0, len, ret + at);
        at += len;
    }
    if (s->halves_swapped)
        swap_halves(ret, n);
}

void weight_source_read(const struct weight_source *s, int64_t row0, int64_t n, float *ret)
{
    const int64_t cols = weight_source_cols(s);

    if (s->n_dims < 2)
        read_vector(s, n, ret);
    else
        read_matrix(s, row0, n, cols, ret);
    for (int i = 0; i < s->n_patches; i++)
        s->patches[i]->add(s->patches[i]->ctx, s->name, row0, n, cols, ret);
}
