/*
 * proof - whether a tensor can be what a trained model has, or is what an unfinished download leaves behind.
 *
 * A file whose room was reserved before it was written has its full size and a directory that is right, and zeros where
 * nothing has arrived yet. Networks compute with such a file, and their results look like pictures.
 *
 *   1. A hole is a page of 4 KiB (as the file is divided) of zero bytes alone, or a tensor whose first or last 4 KiB
 *      are zero: a quarter of it where that is less, all of it where it is smaller than 1 KiB. Weights of one byte are
 *      plain casts, in which a neuron with tiny weights may be a row of zeros, so there a hole has at least 16 KiB.
 *      Matrices of less than 64 bytes may be zero, and convolutions of less than 256 KiB: small networks may be
 *      built with kernels that do nothing. A matrix of 32000 rows and more is a token table: up to 64 whole rows of
 *      zeros at its end are padding of the vocabulary (T5 has 32128 rows for 32100 pieces).
 *   2. A value is NaN, infinity, or over PROOF_LARGEST; of quantised types, a scale is not finite, or is one with which
 *      a block could express more than that, or a minimum is over it. A finite float of one byte passes: a scale beside
 *      it may map the largest weight to the largest value there is, 57344 in E5M2.
 *   3. A vector holds NaN or infinity, or is a norm's scale and zero throughout, which would silence what it scales.
 *
 * PROOF_LARGEST. The published fp8 files of these very models (FLUX.1 and FLUX.1-Fill, T5-XXL) are plain casts to
 * E4M3, whose largest value is 448 and whose casts turn what is larger into NaN; they compute pictures, so no weight
 * exceeds 448. A block can express a little more than the largest of its weights: its range, twice that, with minima.
 * 4096 leaves a factor of four over that. Of random bytes, one F32 or BF16 in two, one F16 in six, one scale in three
 * and one E4M3 value in 128 is refused.
 *
 * Cost. SAMPLED reads a cache line or two of each page, and a whole page only where its first 16 bytes are zeros; FULL
 * reads every value or scale. Processor time of one thread of a Xeon, file in the page cache and not
 * yet mapped, F32, F16, BF16, E4M3, Q8_0, Q4_0, Q4_K and Q6_K:
 *
 *   SAMPLED  95 to 120 ns a page, 23 to 29 ms a GB        FULL  260 to 410 ns a page, 63 to 100 ms a GB
 *
 * Errors  ERR_CORRUPT, with the tensor, the place and the remedy. Where the mapping may have lost its file, the
 * caller's file_map_verdict() says so instead. Thread-safe; reads the tensor's bytes and nothing else.
 */
#ifndef MODELS_FILE_PROOF_H
#define MODELS_FILE_PROOF_H

#include "models/file/tensor_file.h"

#define PROOF_LARGEST 4096.0f

enum proof_depth {
    PROOF_SAMPLED, /* for every start */
    PROOF_FULL     /* for what is kept: self-check values, conversions */
};

/* `path` is for messages. Tensors of integers, and those of a type that is not read here, pass. */
MUST_CHECK enum err_code proof_tensor(const struct tensor_entry *e, const char *path, enum proof_depth depth,
                                      struct err *err);

#endif
