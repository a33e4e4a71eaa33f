/*
 * flux_rope - rotary positions of the joint sequence, text first.
 *
 * The channels of a head are split into three axes of head_dim/8 and twice half of the rest (128: 16, 56, 56). Axis 0
 * is always at position 0, axis 1 at the row and axis 2 at the column of the image token; text is at position 0 on all
 * axes. Pairs are adjacent channels (2j, 2j+1), rotated by position * 10000^(-2j / axis width); "rotate_half", which
 * pairs distant channels, would be wrong here. Angles are computed in double and rounded once.
 * Source: Su et al. 2021; diffusers FluxPosEmbed; MODEL.md 2.8.
 */
#ifndef MODELS_FLUX_FLUX_ROPE_H
#define MODELS_FLUX_FLUX_ROPE_H

#include <stdbool.h>
#include <stdint.h>

enum { FLUX_ROPE_AXES = 3, FLUX_ROPE_MAX_HEAD = 1024 };

/* The widths of the axes; false where head_dim is over FLUX_ROPE_MAX_HEAD or cannot be split into even widths. */
bool flux_rope_axes(int head_dim, int ret[FLUX_ROPE_AXES]);

/* ret [n_txt + rows * cols, head_dim]: (cos, sin) of each pair, as qk_norm_rope takes them. */
void flux_rope_table(float *ret, int64_t n_txt, int rows, int cols, const int axes[FLUX_ROPE_AXES]);

#endif
