/*
 * quant - GGUF block layouts to f32, exactly as ggml computes them: in f32, with its order of operations. Source: ggml
 * block formats, OCP FP8; MODEL.md 3.4, which has golden vectors.
 *
 *   src  n values of type t, n a multiple of its block; any alignment
 *   dst  [n] f32
 * Never fails: every bit pattern of a block has a value, which may be NaN.
 * t must be a float or quantised type; for I32, I64 and U8 the result is zeros.
 */
#ifndef KERNELS_QUANT_H
#define KERNELS_QUANT_H

#include "kernels/tensor.h"

void dequantise_row(enum dtype t, const void *src, float *dst, int64_t n);
/* n values of row `row` of a matrix, [rows, cols], from column j0 on, which begins a block of the type. */
void dequantise_columns(enum dtype t, const void *matrix, int64_t cols, int64_t row, int64_t j0, int64_t n, float *dst);
/* As dequantise_row, each value rounded once to bf16 (nearest even). */
void dequantise_row_bf16(enum dtype t, const void *src, uint16_t *dst, int64_t n);

/* Whether no value's magnitude is above `largest`; NaN is not within anything. */
bool values_are_within(const float *values, int64_t n, float largest);

/* Row `row` of a matrix in the host's memory, [cols], multiplied with its scale; and the same rounded once to bf16. */
void dequantise_weight_row(const struct weight *w, int64_t row, float *dst);
void dequantise_weight_row_bf16(const struct weight *w, int64_t row, uint16_t *dst);

float f16_to_f32(uint16_t h);
float f8_e4m3_to_f32(uint8_t v);
uint16_t f32_to_bf16(float f); /* nearest even; NaN stays NaN */
static inline float bf16_to_f32(uint16_t h)
{
    union {
        uint32_t u;
        float f;
    } v = { (uint32_t)h << 16 };
    return v.f;
}

#endif
