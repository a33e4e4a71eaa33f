#include "models/flux_rope.h"

#include <math.h>

static const double theta = 10000;

bool flux_rope_axes(int head_dim, int ret[FLUX_ROPE_AXES])
{
    int first = head_dim / 8, other = (head_dim - head_dim / 8) / 2;

    if (head_dim < 32 || head_dim % 8 != 0 || first % 2 != 0 || other % 2 != 0 || first + 2 * other != head_dim)
        return false;
    ret[0] = first;
    ret[1] = ret[2] = other;
    return true;
}

/* One axis of one token; returns where the next axis starts. */
static float *rotation(float *ret, int width, int position)
{
    for (int j = 0; j < width; j += 2) {
        double angle = position * pow(theta, -(double)j / width);

        *ret++ = (float)cos(angle);
        *ret++ = (float)sin(angle);
    }
    return ret;
}

static float *token(float *ret, const int axes[FLUX_ROPE_AXES], int row, int col)
{
    ret = rotation(ret, axes[0], 0);
    ret = rotation(ret, axes[1], row);
    return rotation(ret, axes[2], col);
}

void flux_rope_table(float *ret, int64_t n_txt, int rows, int cols, const int axes[FLUX_ROPE_AXES])
{
    for (int64_t t = 0; t < n_txt; t++)
        ret = token(ret, axes, 0, 0);
    for (int row = 0; row < rows; row++)
        for (int col = 0; col < cols; col++)
            ret = token(ret, axes, row, col);
}
