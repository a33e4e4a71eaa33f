#include "models/fill/torch_rng.h"

#include <stdio.h>
#include <string.h>

#include "models/file/tensor_file.h"
#include "test/support/check.h"
#include "test/support/golden.h"

TEST(torch_rng__mt19937_of_seed_zero)
{
    static const uint32_t want[] = { 2357136044u, 2546248239u, 3071714933u, 3626093760u };
    struct torch_rng r;

    torch_rng_seed(&r, 0);
    for (int i = 0; i < 4; i++)
        CHECK_INT(torch_rng_u32(&r), want[i]);
}

/* Two draws in a row for each seed. The limit is 3 ulp, because torch has its own log and sincos. */
TEST(torch_rng__draws_torch_noise)
{
    enum { N = 16 * 4 * 6 };
    static const uint64_t seeds[] = { 0, 1, 42, 4294967295u, 1099511627783u };
    struct tensor_file f;
    struct arena a = { 0 };
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    CHECK_OK(tensor_file_open(golden("common/noise.safetensors"), &a, &f, &err), err);
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        static const char *const draws[] = { "first", "second" };
        struct torch_rng r;

        torch_rng_seed(&r, seeds[i]);
        for (int d = 0; d < 2; d++) {
            const struct tensor_entry *e;
            float got[N], want[N];
            char name[64];

            (void)snprintf(name, sizeof name, "%llu.%s", (unsigned long long)seeds[i], draws[d]);
            e = tensor_file_find(&f, span_of(name));
            CHECK(e && e->bytes == sizeof want);
            memcpy(want, e->data, sizeof want);
            torch_rng_normals(&r, got, N);
            CHECK_NEAR(got, want, N, 1e-6, 0);
        }
    }
    arena_done(&a);
}

TEST(torch_rng__discarding_equals_drawing)
{
    static const size_t sizes[] = { 16, 17, 31, 32, 640, 1000 };

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct torch_rng a, b;
        float values[1000];

        torch_rng_seed(&a, 7);
        torch_rng_seed(&b, 7);
        torch_rng_normals(&a, values, sizes[i]);
        torch_rng_discard_normals(&b, sizes[i]);
        CHECK_INT(torch_rng_u32(&a), torch_rng_u32(&b));
    }
}
