#include "models/flux/flow_match.h"

#include <math.h>

static const double base_shift = 0.5, max_shift = 1.15;
static const double base_image_seq_len = 256, max_image_seq_len = 4096;

double flow_match_mu(int64_t n_img)
{
    double m = (max_shift - base_shift) / (max_image_seq_len - base_image_seq_len);
    double b = base_shift - m * base_image_seq_len;

    return (double)n_img * m + b;
}

enum err_code flow_match_sigmas(int n_steps, int64_t n_img, float *sigmas, struct err *err)
{
    double last = 1.0 / n_steps, step = n_steps > 1 ? (last - 1.0) / (n_steps - 1) : 0;
    float e = (float)exp(flow_match_mu(n_img));

    if (n_steps < 1 || n_steps > FLOW_MATCH_MAX_STEPS || n_img < 1)
        return err_set(err, ERR_INVALID,
                       "flow_match: %d steps are not within 1 .. %d, or there is no image token (%lld)", n_steps,
                       FLOW_MATCH_MAX_STEPS, (long long)n_img);
    for (int i = 0; i < n_steps; i++) {
        float s = (float)(i && i == n_steps - 1 ? last : i * step + 1.0);

        sigmas[i] = e / (e + (1.0f / s - 1.0f));
    }
    sigmas[n_steps] = 0;
    return ERR_OK;
}

enum err_code flow_match_start(int n_steps, double strength, int *ret, struct err *err)
{
    double n_used = fmin(n_steps * strength, n_steps);
    int start;

    if (!(strength >= 0 && strength <= 1))
        return err_set(err, ERR_INVALID, "flow_match: strength %g is not within 0 .. 1", strength);
    start = (int)fmax(n_steps - n_used, 0);
    if (n_steps - start < 1)
        return err_set(err, ERR_INVALID, "flow_match: strength %g leaves no step of %d to run", strength, n_steps);
    *ret = start;
    return ERR_OK;
}
