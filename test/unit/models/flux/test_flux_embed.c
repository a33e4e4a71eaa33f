#include <math.h>

#include "models/flux/flux_embed.h"
#include "test/support/check.h"

/* Values of the f32 rule from MODEL.md 2.3, which prints six digits. */
TEST(flux_embed__gives_the_published_check_values)
{
    static const struct { float arg; int i; double cosine, sine; } want[] = {
        { 1000, 0, 0.562379, 0.826880 },   { 1000, 1, 0.789627, 0.613588 },
        { 1000, 64, -0.839072, -0.544021 }, { 1000, 127, 0.994232, 0.107254 },
        { 29952, 0, 0.998452, 0.055612 },  { 29952, 1, 0.959909, 0.280311 },
        { 29952, 127, -0.997031, -0.076996 }, { 30000, 0, -0.596430, -0.802665 },
        { 30000, 1, 0.567083, 0.823661 },  { 30000, 13, -0.521948, -0.852977 },
        { 30000, 64, -0.022097, -0.999756 }, { 30000, 127, -0.996621, -0.082138 },
    };

    for (size_t k = 0; k < sizeof want / sizeof *want; k++) {
        float wave[FLUX_SINUSOID];

        flux_sinusoid(want[k].arg, wave);
        CHECK(fabs(wave[want[k].i] - want[k].cosine) <= 6e-7);
        CHECK(fabs(wave[128 + want[k].i] - want[k].sine) <= 6e-7);
    }
}

TEST(flux_embed__frequencies_fall_from_one_to_a_ten_thousandth)
{
    float wave[FLUX_SINUSOID];

    flux_sinusoid(1e-3f, wave); /* sin(x) = x to 2e-7 */
    for (int i = 0; i < 128; i++)
        CHECK(fabs(wave[128 + i] / 1e-3 / pow(10000, -i / 128.0) - 1) <= 1e-6);
}
