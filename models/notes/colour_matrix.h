/*
 * colour_matrix - between sRGB and an RGB colour space that three curves and a matrix describe, as those of cameras,
 * phones and screens are: Display P3, Adobe RGB, ProPhoto.
 *
 *   light  a channel in linear light, 0 to 1: what the curve of the channel makes of a code of 8 bits
 *   sRGB   f32 in levels, 0 black and 255 white; colours outside of sRGB are below, above and between, for the curve is
 *          continued to both sides (below 0 mirrored). Nothing is clipped, so that there is a way back.
 *
 * There and back again is exact: every triple of codes comes back as the same codes after rounding, but for codes to
 * which the curve gives the same light. Of those, the lowest comes back, and of those with the light of code 255, 255.
 *
 * Source  ICC.1:2022 F.3 (three-component matrix-based profiles), IEC 61966-2-1
 */
#ifndef MODELS_NOTES_COLOUR_MATRIX_H
#define MODELS_NOTES_COLOUR_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COLOUR_CODES = 256 };

/* The way back through a curve: n points of which both members only grow, with straight lines between them. */
struct colour_curve {
    float light[COLOUR_CODES], code[COLOUR_CODES]; /* from point n on, light is infinite */
    int n;
};

struct colour_matrix {
    float light[3][COLOUR_CODES]; /* of each code */
    struct colour_curve back[3];
    float to_srgb[3][3], from_srgb[3][3]; /* for columns of light: ret = matrix * column */
};

/* What a profile says: XYZ, relative to D50, of full red, green and blue in its columns, and the light of each code. */
struct colour_primaries {
    double xyz[3][3];
};

/* false: this is no colour space. The primaries are (nearly) in one line or not finite, or a curve does not grow. */
bool colour_matrix_init(struct colour_matrix *m, const struct colour_primaries *own,
                        const struct colour_primaries *srgb);

/* n pixels [n, 3] u8 -> sRGB [n, 3]. In one thread. */
void colour_matrix_to_srgb(const struct colour_matrix *m, const uint8_t *rgb, size_t n, float *ret);

/* n pixels of sRGB [n, 3] -> codes [n, 3], 0 to 255, not rounded. In one thread. */
void colour_matrix_from_srgb(const struct colour_matrix *m, const float *srgb, size_t n, float *ret);

#endif
