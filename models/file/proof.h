/*
 * proof - whether a tensor can be what a trained model has, or is what an unfinished download leaves behind.
 *
 * A file whose room was reserved before it was written has its full size and a directory that is right, and zeros where
 * nothing has arrived yet. Networks compute with such a file, and their results look like pictures.
 *
 *   1. A hole is a page of 4 KiB (as the file is divided) of zero bytes alone, or a tensor whose first or last 4 KiB
 *      are zero: a quarter of it where that is less, all of it where it is smaller than 1 KiB; or zeros at an end of a
 *      matrix, more than 512 bytes and two rows of them, that begin or end within a row. Weights of one byte are plain
 *      casts, in which a neuron with tiny weights may be a row of zeros, so there a hole has at least 16 KiB or is
 *      exactly some pages; the same goes for convolutions of less than 256 KiB, where only the latter counts: small
 *      networks may be built with kernels that do nothing. Whole rows of zeros, neither the first nor the last, are
 *      neurons that were pruned: a hole begins and ends at pages or anywhere. Matrices of less than 64 bytes may be
 *      zero. A matrix of 32000 rows and more is a token table: up to 64 whole rows of zeros at its end are padding of
 *      the vocabulary (T5 has 32128 rows for 32100 pieces).
 *   2. A value is NaN, infinity, or over PROOF_LARGEST; of quantised types, a scale is not finite, or is one with which
 *      a block could express more than that, or a minimum is over it.
 *      F8_E5M2 reaches 57344, which scales beside a matrix make small: only its NaN and infinity are refused.
 *   3. A vector holds NaN or infinity, or is a norm's scale and zero throughout, which would silence what it scales.
 *
 * PROOF_LARGEST. The published fp8 files of these very models (FLUX.1 and FLUX.1-Fill, T5-XXL) are plain casts to
 * E4M3, whose largest value is 448 and whose casts turn what is larger into NaN; they compute pictures, so no weight
 * exceeds 448. A block can express a little more than the largest of its weights: its range, twice that, with minima.
 * 4096 leaves a factor of four over that. Of random bytes, one F32 or BF16 in two, one F16 in six, one scale in three
 * and one E4M3 value in 128 is refused.
 *
 * Cost. Every value or scale is read, by all processors. Processor time of one thread of a Xeon, file in the page cache
 * and not yet mapped, F32, F16, BF16, E4M3, Q8_0, Q4_0, Q4_K and Q6_K: 260 to 410 ns a page, 63 to 100 ms a GB.
 * Samples, a cache line of each page, take 23 to 29 ms a GB and miss most of the scales that are damaged alone.
 *
 * Errors  ERR_CORRUPT, with the tensor, the place and the remedy. Where the mapping may have lost its file, the
 * caller's file_map_verdict() says so instead. Thread-safe; reads the tensor's bytes and nothing else.
 */
#ifndef MODELS_FILE_PROOF_H
#define MODELS_FILE_PROOF_H

#include "models/file/tensor_file.h"

#define PROOF_LARGEST 4096.0f

/* `path` is for messages. Tensors of integers, and those of a type that is not read here, pass. */
MUST_CHECK enum err_code proof_tensor(const struct tensor_entry *e, const char *path, struct err *err);

/* A matrix A or B of a LoRA, which is small and may have been begun as zeros: it may be zero throughout, or in whole
 * rows. Zeros of 4 KiB, or a quarter of it but at least 2 KiB, that begin or end elsewhere are a hole; with B, they
 * must be more than two rows, too. Reads all of it. Errors as above. */
MUST_CHECK enum err_code proof_factor(const struct tensor_entry *e, const char *path, struct err *err);
/* The end of the file of a LoRA, or of prompts: zeros, longer than a row, that begin within a matrix are what has not
 * arrived, however small it is, unless they begin where the rows of q, k, v or the MLP may. */
MUST_CHECK enum err_code proof_end_of_factors(const struct tensor_file *f, struct err *err);

#endif
