/*
 * weight_source - a tensor as a network takes it, from whatever a file makes of it.
 *
 * A network asks for tensors by one family of names. A file may name them otherwise, store one matrix as several whose
 * rows follow one another (q, k, v), store the halves of its rows in the other order, or keep a scale beside values of
 * 8 bits; and a patch (a LoRA) may change the values. A weight_source knows all that of one tensor, and gives its rows
 * as f32. Where nothing of it is the case, the values are those of one entry (`plain`), and are used where they are.
 */
#ifndef MODELS_WEIGHTS_WEIGHT_SOURCE_H
#define MODELS_WEIGHTS_WEIGHT_SOURCE_H

#include "models/file/tensor_file.h"

enum { WEIGHT_MAX_PIECES = 4, WEIGHT_MAX_PATCHES = 8, WEIGHT_SCALE_BLOCK = 128 /* rows and columns */ };

/* The largest scale of a matrix of F8: trained weights are below 4096 (proof.h), and a scale maps the largest of them
 * to 448 or less. A scale above it would make weights that no model has. */
#define WEIGHT_SCALE_MAX 4096.0F

/* How a file names what a network calls by one name. */
struct weight_names {
    int n;               /* tensors whose rows follow one another */
    bool halves_swapped; /* stored with the second half of its rows first */
    char name[WEIGHT_MAX_PIECES][TENSOR_NAME_MAX + 1];
};
/* The names in the file of the tensor that a network calls `name`, or of all names that begin like it where `name` ends
 * in a point ("double_blocks."). False: no such tensor. */
typedef bool weight_rename_fn(const char *name, struct weight_names *ret);

/* Something that changes tensors while they are loaded. */
struct weight_patch {
    const void *ctx;
    bool (*touches)(const void *ctx, const char *name); /* the network's name, as "img_in.weight" */
    /* Adds to rows row0 .. row0 + n - 1, f32 [n, cols], in place; of a vector, to the values row0 .. row0 + n - 1, with
     * cols 1. Any thread; the same values however a matrix is divided into calls. */
    void (*add)(const void *ctx, const char *name, int64_t row0, int64_t n, int64_t cols, float *values);
};

/* One stored tensor, and what its values are multiplied with. */
struct weight_piece {
    const struct tensor_entry *entry;
    const struct tensor_entry *scale; /* NULL: none; else one value, one a row, or one a block of rows and columns */
};

struct weight_source {
    const char *name; /* the network's */
    struct weight_piece pieces[WEIGHT_MAX_PIECES];
    int n_pieces;
    bool halves_swapped;
    const struct weight_patch *patches[WEIGHT_MAX_PATCHES]; /* those that touch it */
    int n_patches;
    int n_dims;
    int64_t dims[TENSOR_FILE_MAX_DIMS]; /* as the network takes it */
    bool plain;                         /* the first piece's bytes are the tensor, with `factor` */
    float factor;                       /* what the values of a plain source are multiplied with: 1, or a scale */
};

float weight_scale_value(const struct tensor_entry *scale, int64_t i); /* of any float type */

int64_t weight_source_cols(const struct weight_source *s); /* of a vector: 1 */
int64_t weight_source_rows(const struct weight_source *s);

/* The piece that holds row `row` of a matrix, whose number in it is *ret_row; of a vector, the first piece. */
const struct weight_piece *weight_source_row(const struct weight_source *s, int64_t row, int64_t *ret_row);

/* Whether every piece is of this type, without scales and patches: its bytes are those of the tensor. */
bool weight_source_only_joins(const struct weight_source *s, enum dtype type);

/* Rows row0 .. row0 + n - 1 as f32 [n, cols], row-major; a tensor of four dimensions counts as [c_out, rest]. A vector
 * is read as a whole, row0 0 and n its length. Any thread. Nothing is refused here: NaN and infinity come through. */
void weight_source_read(const struct weight_source *s, int64_t row0, int64_t n, float *ret);

#endif
