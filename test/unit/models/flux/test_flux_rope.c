#include <math.h>

#include "models/flux/flux_rope.h"
#include "test/support/check.h"

enum { TXT = 3, ROWS = 5, COLS = 7, HEAD = 128, TOKENS = TXT + ROWS * COLS };

static void table_of(float table[TOKENS * HEAD], int axes[FLUX_ROPE_AXES])
{
    CHECK(flux_rope_axes(HEAD, axes));
    flux_rope_table(table, TXT, ROWS, COLS, axes);
}

TEST(flux_rope__splits_heads_as_the_official_sets_do)
{
    int axes[FLUX_ROPE_AXES];

    CHECK(flux_rope_axes(128, axes) && axes[0] == 16 && axes[1] == 56 && axes[2] == 56);
    CHECK(flux_rope_axes(64, axes) && axes[0] == 8 && axes[1] == 28 && axes[2] == 28);
    CHECK(flux_rope_axes(32, axes) && axes[0] == 4 && axes[1] == 14 && axes[2] == 14);
    CHECK(!flux_rope_axes(0, axes) && !flux_rope_axes(-32, axes) && !flux_rope_axes(16, axes));
    CHECK(!flux_rope_axes(48, axes) && !flux_rope_axes(100, axes) && !flux_rope_axes(33, axes));
}

TEST(flux_rope__leaves_text_and_the_first_token_alone)
{
    static float table[TOKENS * HEAD];
    int axes[FLUX_ROPE_AXES];

    table_of(table, axes);
    for (int i = 0; i < (TXT + 1) * HEAD; i += 2)
        CHECK(table[i] == 1 && table[i + 1] == 0);
}

TEST(flux_rope__rotates_by_row_and_column_on_their_own_axes)
{
    static float table[TOKENS * HEAD];
    /* MODEL.md 2.8, width 56 */
    static const struct { int j; double omega; } want[] = {
        { 0, 1 }, { 1, 0.719685673 }, { 13, 0.013894955 }, { 27, 1.38949549e-4 }
    };
    int axes[FLUX_ROPE_AXES];

    table_of(table, axes);
    for (int row = 0; row < ROWS; row++) {
        for (int col = 0; col < COLS; col++) {
            const float *t = table + (TXT + row * COLS + col) * HEAD;

            for (int i = 0; i < axes[0]; i += 2)
                CHECK(t[i] == 1 && t[i + 1] == 0);
            for (int k = 0; k < 4; k++) {
                CHECK(fabs(t[16 + 2 * want[k].j] - cos(row * want[k].omega)) <= 1e-6);
                CHECK(fabs(t[17 + 2 * want[k].j] - sin(row * want[k].omega)) <= 1e-6);
                CHECK(fabs(t[72 + 2 * want[k].j] - cos(col * want[k].omega)) <= 1e-6);
                CHECK(fabs(t[73 + 2 * want[k].j] - sin(col * want[k].omega)) <= 1e-6);
            }
        }
    }
}

TEST(flux_rope__keeps_the_length_of_every_pair)
{
    static float table[TOKENS * HEAD];
    int axes[FLUX_ROPE_AXES];

    table_of(table, axes);
    for (int i = 0; i < TOKENS * HEAD; i += 2)
        CHECK(fabs((double)table[i] * table[i] + (double)table[i + 1] * table[i + 1] - 1) <= 3e-7);
}
