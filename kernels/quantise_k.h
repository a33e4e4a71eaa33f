/*
 * quantise_k - the K types of kernels/quantise.h, whose scales are searched for: f32 to super-blocks of 256 values,
 * with the bits of ggml's quantize_row_*_K_ref.
 *
 *   src  [256 n_blocks] f32
 *   dst  n_blocks super-blocks, at any address
 */
#ifndef KERNELS_QUANTISE_K_H
#define KERNELS_QUANTISE_K_H

#include <stdint.h>

void quantise_q6_k(const float *restrict src, uint8_t *restrict dst, int64_t n_blocks);
void quantise_q5_k(const float *restrict src, uint8_t *restrict dst, int64_t n_blocks);
void quantise_q4_k(const float *restrict src, uint8_t *restrict dst, int64_t n_blocks);
void quantise_q3_k(const float *restrict src, uint8_t *restrict dst, int64_t n_blocks);
void quantise_q2_k(const float *restrict src, uint8_t *restrict dst, int64_t n_blocks);

#endif
