/* Readings of the card, from a management library that reports made-up values (stub/nvml.c). */
#include <math.h>

#include "kernels/cuda/nvml.h"
#include "models/bench/bench_sustain.h"
#include "test/gpu/device.h"

TEST(dry_card__has_the_figures_in_watts_and_megahertz)
{
    struct backend_card card;
    struct tensor x = sample_2d(DT_F32, 4, 256, 0);

    (void)device_copy(&x);
    CHECK(backend_card(device(), &card));
    CHECK_STR(card.name, "Stand-in L4");
    CHECK_STR(card.driver, "535.999.01");
    CHECK_STR(card.libraries, "CUDA 13.0, cuBLASLt 13.0.2");
    CHECK(card.power_w == 72 && card.power_limit_w == 75 && card.clock_mhz == 1500);
    CHECK(isnan(card.temperature_c));
    CHECK(card.energy_j >= 1036);
    CHECK(device_done());
}

TEST(dry_card__an_address_without_a_card_is_not_found)
{
    (void)device();
    CHECK(nvml_open("0000:00:00.0") == NULL);
}

static enum err_code idle(void *ctx, struct err *err)
{
    (void)ctx, (void)err;
    return ERR_OK;
}

/* The power of a figure is the difference of the energy counter divided by time, not a momentary reading. */
TEST(dry_card__watts_of_a_figure_come_from_its_energy)
{
    const struct bench_options o = { .be = device(), .repeats = 1 };
    struct bench_figure f = { 0 };
    struct err err = { 0 };

    CHECK_OK(bench_sustain(&o, &f, idle, NULL, &err), err);
    CHECK(f.clock_mhz == 1500);
    CHECK(f.power_w > 100); /* 36 J in less than 360 ms; the reading is 72 W */
}
