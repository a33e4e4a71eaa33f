#include "models/notes/colour_matrix.h"

#include <math.h>

#include "kernels/base/processor.h"

#define NOISE 4e-7F /* of light that went through sRGB and back in floats */

/* The code whose light comes back as this one: the first of those with the same light, and at the upper end the last,
 * so that black stays 0 and white stays 255. */
static void curve_back(struct colour_curve *back, const float *light)
{
    float most = light[0];

    *back = (struct colour_curve){ .n = 1 };
    back->light[0] = most;
    for (int code = 1; code < COLOUR_CODES; code++) {
        if (light[code] > most + NOISE) {
            most = light[code];
            back->light[back->n] = most;
            back->code[back->n++] = (float)code;
        }
    }
    if (fabsf(light[COLOUR_CODES - 1] - most) <= NOISE)
        back->code[back->n - 1] = COLOUR_CODES - 1;
    for (int i = back->n; i < COLOUR_CODES; i++)
        back->light[i] = INFINITY;
}

/* false: (nearly) singular, or not finite. */
static bool inverse(double ret[3][3], const double m[3][3])
{
    enum { LARGEST = 100 }; /* of a space of real colours: below 10 */
    double det = 0.0;
    bool fits = true;

    for (int i = 0; i < 3; i++)
        det += m[0][i] * (m[1][(i + 1) % 3] * m[2][(i + 2) % 3] - m[1][(i + 2) % 3] * m[2][(i + 1) % 3]);
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            int i1 = (i + 1) % 3, i2 = (i + 2) % 3, k1 = (k + 1) % 3, k2 = (k + 2) % 3;

            ret[k][i] = (m[i1][k1] * m[i2][k2] - m[i1][k2] * m[i2][k1]) / det;
            fits = fits && fabs(m[i][k]) <= LARGEST && fabs(ret[k][i]) <= LARGEST;
        }
    return fits;
}

static void product(float ret[3][3], const double a[3][3], const double b[3][3])
{
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++)
            ret[i][k] = (float)(a[i][0] * b[0][k] + a[i][1] * b[1][k] + a[i][2] * b[2][k]);
}

/* It grows from somewhere near 0 to somewhere near 1, with dents at the most. NaN fails. */
static bool is_curve(const float *light)
{
    for (int code = 0; code < COLOUR_CODES; code++)
        if (!(light[code] >= -0.5F && light[code] <= 2.0F))
            return false;
    return light[COLOUR_CODES - 1] - light[0] >= 0.25F;
}

bool colour_matrix_init(struct colour_matrix *m, const struct colour_primaries *own,
                        const struct colour_primaries *srgb)
{
    double own_back[3][3], srgb_back[3][3];

    for (int c = 0; c < 3; c++) {
        if (!is_curve(m->light[c]))
            return false;
        curve_back(&m->back[c], m->light[c]);
    }
    if (!inverse(own_back, own->xyz) || !inverse(srgb_back, srgb->xyz))
        return false;
    product(m->to_srgb, srgb_back, own->xyz);
    product(m->from_srgb, own_back, srgb->xyz);
    return true;
}

INLINE_HOT float srgb_of_light(float light)
{
    float x = fabsf(light), level = x <= 0.0031308F ? 12.92F * x : 1.055F * powf(x, 1.0F / 2.4F) - 0.055F;

    return 255.0F * copysignf(level, light);
}

INLINE_HOT float light_of_srgb(float level)
{
    float v = fabsf(level) * (1.0F / 255.0F);

    return copysignf(v <= 0.04045F ? v * (1.0F / 12.92F) : powf((v + 0.055F) * (1.0F / 1.055F), 2.4F), level);
}

INLINE_HOT float mix(const float row[3], const float v[3])
{
    return row[0] * v[0] + row[1] * v[1] + row[2] * v[2];
}

void colour_matrix_to_srgb(const struct colour_matrix *m, const uint8_t *rgb, size_t n, float *ret)
{
    for (size_t i = 0; i < n; i++, rgb += 3, ret += 3) {
        const float light[3] = { m->light[0][rgb[0]], m->light[1][rgb[1]], m->light[2][rgb[2]] };

        for (int c = 0; c < 3; c++)
            ret[c] = srgb_of_light(mix(m->to_srgb[c], light));
    }
}

/* The points around the light are searched by halves: always in eight steps, so without a jump. */
INLINE_HOT float code_of_light(const struct colour_curve *back, float light)
{
    int i = 0;
    float code;

    for (int step = COLOUR_CODES / 2; step; step /= 2)
        i += back->light[i + step] < light ? step : 0;
    i = i > back->n - 2 ? back->n - 2 : i;
    code = back->code[i] +
           (light - back->light[i]) * (back->code[i + 1] - back->code[i]) / (back->light[i + 1] - back->light[i]);
    return code > 0.0F ? fminf(code, COLOUR_CODES - 1) : 0.0F;
}

void colour_matrix_from_srgb(const struct colour_matrix *m, const float *srgb, size_t n, float *ret)
{
    for (size_t i = 0; i < n; i++, srgb += 3, ret += 3) {
        const float light[3] = { light_of_srgb(srgb[0]), light_of_srgb(srgb[1]), light_of_srgb(srgb[2]) };

        for (int c = 0; c < 3; c++)
            ret[c] = code_of_light(&m->back[c], mix(m->from_srgb[c], light));
    }
}
