#include "models/flux/flux_rope.h"

#include <math.h>

static const double theta = 10000;

bool flux_rope_axes(int head_dim, int ret[FLUX_ROPE_AXES])
{
    int first = head_dim / 8, other = (head_dim - head_dim / 8) / 2;

    if (head_dim < 32 || head_dim > FLUX_ROPE_MAX_HEAD || head_dim % 8 != 0)
        return false;
    if (first % 2 != 0 || other % 2 != 0 || first + 2 * other != head_dim)
        return false;
    ret[0] = first;
    ret[1] = ret[2] = other;
    return true;
}

/* The angle that one position adds to each pair, 10000^(-2j / width), for the pairs of all axes in order. */
static void make_omegas(double *ret, const int axes[FLUX_ROPE_AXES])
{
    for (int a = 0; a < FLUX_ROPE_AXES; a++)
        for (int j = 0; j < axes[a]; j += 2)
            *ret++ = pow(theta, -(double)j / axes[a]);
}

static float *token(float *ret, const double *omega, const int axes[FLUX_ROPE_AXES], int row, int col)
{
    const int position[FLUX_ROPE_AXES] = { 0, row, col };

    for (int a = 0; a < FLUX_ROPE_AXES; a++) {
        for (int j = 0; j < axes[a]; j += 2, omega++) {
            *ret++ = (float)cos(position[a] * *omega);
            *ret++ = (float)sin(position[a] * *omega);
        }
    }
    return ret;
}

void flux_rope_table(float *ret, int64_t n_txt, int rows, int cols, const int axes[FLUX_ROPE_AXES])
{
    double omega[FLUX_ROPE_MAX_HEAD / 2];

    make_omegas(omega, axes);
    for (int64_t t = 0; t < n_txt; t++)
        ret = token(ret, omega, axes, 0, 0);
    for (int row = 0; row < rows; row++)
        for (int col = 0; col < cols; col++)
            ret = token(ret, omega, axes, row, col);
}
