/*
 * quantise - f32 to the storage types of weights, bit for bit as ggml's reference quantisers compute them (its
 * quantize_row_*_ref, without an importance matrix, compiled without fused multiply-add as ggml's own build for x86-64
 * is; compared with ggml 0.13.1 and with its source of August 2026). The results are the same on every processor.
 *
 *   src  [n] f32, n a multiple of the type's block
 *   dst  dtype_row_bytes(t, n) bytes, written completely; at an even address for F16 and BF16, at any for the others
 * Never fails. What the caller must refuse first, because the result would be useless (though nothing breaks):
 *   - NaN and infinity: they spoil their block, in a way that is not defined;
 *   - magnitudes that F16 rounds to infinity, 65520 and above, and blocks whose scale or minimum does so: from a
 *     magnitude of 65520 * 127 in Q8_0, 65520 * 8 in Q4_0 and 65520 * 16 in Q5_0; in Q4_1 and Q5_1 from a minimum of
 *     magnitude 65520, or a range of 65520 * 15 or 65520 * 31; in the K types not below a magnitude of 65520 * 15.
 * F16 and BF16 round to nearest even. A block whose scale is 2^-25 or less becomes zeros, in Q4_1 and Q5_1 its minimum.
 * gguf-py, which has no K types, computes the same bits, except for the sign of a scale or a minimum that is zero,
 * where a block holds -0.
 */
#ifndef KERNELS_QUANTISE_H
#define KERNELS_QUANTISE_H

#include "kernels/tensor.h"

bool quantise_supports(enum dtype t);
/* t must be one that quantise_supports() names. */
void quantise_row(enum dtype t, const float *src, void *dst, int64_t n);

#endif
