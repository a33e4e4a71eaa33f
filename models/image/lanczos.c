#include "models/image/lanczos.h"

#include <math.h>

enum { LOBES = 3 };

static double sinc(double x)
{
    if (x == 0.0)
        return 1.0;
    x *= M_PI;
    return sin(x) / x;
}

static double lanczos(double x)
{
    return x >= -LOBES && x < LOBES ? sinc(x) * sinc(x / LOBES) : 0.0;
}

/* Inputs for one output; 1 where the axis grows. */
static double filter_scale(int n_in, int n_all)
{
    double scale = (double)n_in / n_all;

    return scale < 1.0 ? 1.0 : scale;
}

int lanczos_most_taps(int n_in, int n_all)
{
    return (int)ceil(LOBES * filter_scale(n_in, n_all)) * 2 + 1;
}

struct lanczos_taps lanczos_taps_of(int output, int n_in, int n_all, double *weight)
{
    double scale = filter_scale(n_in, n_all), support = LOBES * scale, inverse = 1.0 / scale, sum = 0.0;
    double center = (output + 0.5) * ((double)n_in / n_all);
    int first = (int)(center - support + 0.5), end = (int)(center + support + 0.5);

    first = first < 0 ? 0 : first;
    end = end > n_in ? n_in : end;
    for (int i = first; i < end; i++) {
        weight[i - first] = lanczos((i - center + 0.5) * inverse);
        sum += weight[i - first];
    }
    for (int i = 0; sum != 0.0 && i < end - first; i++)
        weight[i] /= sum;
    return (struct lanczos_taps){ first, end - first };
}
