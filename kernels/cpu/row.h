/*
 * row - loops over one row of f32, as vector code for the processor at hand. Sums run in sixteen or more lanes, so
 * their error grows with a sixteenth of the length; statistics are within 1e-6 of the exact ones.
 */
#ifndef KERNELS_CPU_ROW_H
#define KERNELS_CPU_ROW_H

#include <stdint.h>

float row_dot(const float *a, const float *b, int64_t n);
float row_sum(const float *x, int64_t n);
float row_square_sum(const float *x, float about, int64_t n); /* of x - about */

/* y = (x - mean) * factor * (plus + w) + b; w and b may be NULL for 1 and 0 (plus is then unused); y may be x */
void row_affine(float *y, const float *x, float mean, float factor, float plus, const float *w, const float *b,
                int64_t n);
/* The same with a mean and a factor for each column. */
void row_affine_channels(float *y, const float *x, const float *mean, const float *factor, const float *b, int64_t n);
void row_mul(float *y, const float *a, const float *b, int64_t n);
void row_add_scaled(float *x, float a, const float *v, int64_t n);          /* x += a v */
void row_add_gated(float *x, const float *gate, const float *v, int64_t n); /* x += gate v */
void row_scale(float *x, float a, int64_t n);
void row_silu(float *y, const float *x, int64_t n); /* may run in place */
void row_rotate_pairs(float *x, const float *rope, int64_t n);

/* One step of a softmax over pieces of a row: l = l * scale + bias (NULL: 0); *max rises to the largest so far, l
 * becomes exp(l - *max) and its sum is returned. A NaN among them makes the sum NaN. */
float row_exp_piece(float *l, int64_t n, float scale, const float *bias, float *max);

/* exp(x) for x <= 0 as the above computes it. */
float row_exp(float x);

/* Moments of many rows, column by column: sum += (x - about)^2 for a few rows in f32; their means and sums of squares
 * joined in double to those of `count` rows before (Chan et al. 1979). */
void row_add_squares(float *sum, const float *x, const float *about, int64_t n);
void row_join_moments(double *mean, double *square_sum, double count, const float *more_mean,
                      const float *more_square_sum, double more_count, int64_t n);

#endif
