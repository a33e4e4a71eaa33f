#include "models/flux/latents.h"

#include <string.h>

#include "test/support/check.h"

enum { H = 6, W = 10, N_TOKENS = H * W / 4 };

/* Every value encodes its place: c * 10000 + y * 100 + x. */
static void fill_pattern(float *chw)
{
    for (int c = 0; c < VAE_LATENT; c++)
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                *chw++ = (float)(c * 10000 + y * 100 + x);
}

TEST(latents__pack_puts_channels_slow_and_the_patch_fast)
{
    enum { STRIDE = LATENT_TOKEN + 5 };
    static float chw[VAE_LATENT * H * W], z[VAE_LATENT * H * W], back[VAE_LATENT * H * W];
    static float packed[N_TOKENS * STRIDE];

    fill_pattern(chw);
    latents_from_chw(chw, H, W, z);
    latents_pack(z, H, W, packed, STRIDE);
    for (int n = 0; n < N_TOKENS; n++)
        for (int k = 0; k < LATENT_TOKEN; k++) {
            int c = k >> 2, y = 2 * (n / (W / 2)) + (k >> 1 & 1), x = 2 * (n % (W / 2)) + (k & 1);

            CHECK_INT(packed[n * STRIDE + k], c * 10000 + y * 100 + x);
        }
    latents_unpack(packed, STRIDE, H, W, back);
    CHECK(!memcmp(z, back, sizeof z));
}

TEST(latents__scale_shifts_first)
{
    float z[] = { 0.1159f, 1.1159f, -3.0f };

    latents_scale(z, 3);
    CHECK_NEAR(z, ((float[]){ 0, 0.3611f, -1.12515149f }), 3, 1e-6, 0);
    latents_unscale(z, 3);
    CHECK_NEAR(z, ((float[]){ 0.1159f, 1.1159f, -3.0f }), 3, 1e-6, 0);
}

/* The worked values of MODEL.md 1.8. */
TEST(latents__one_mask_pixel_sets_one_channel)
{
    static const int cases[][3] = { { 0, 0, 0 },  { 0, 8, 1 },     { 8, 0, 2 },   { 8, 8, 3 },  { 0, 1, 4 },
                                    { 1, 0, 32 }, { 15, 15, 255 }, { 7, 7, 252 }, { 8, 15, 31 } };
    enum { TH = 2, TW = 3 };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int token = 0; token < TH * TW; token++) {
            static uint8_t m[16 * TH * 16 * TW];
            static float packed[TH * TW * MASK_TOKEN];
            int y = token / TW * 16 + cases[i][0], x = token % TW * 16 + cases[i][1];
            int at = token * MASK_TOKEN + cases[i][2];

            memset(m, 0, sizeof m);
            m[y * 16 * TW + x] = 1;
            latents_pack_mask(m, TH, TW, packed, MASK_TOKEN);
            for (int k = 0; k < TH * TW * MASK_TOKEN; k++)
                CHECK(packed[k] == (k == at ? 1.0f : 0.0f));
        }
}

TEST(latents__mask_is_one_from_grey_128)
{
    uint8_t levels[] = { 0, 1, 127, 128, 200, 255 }, got[6];
    struct image mask = { 6, 1, 1, levels };

    latents_binarise_mask(&mask, got);
    CHECK(!memcmp(got, (uint8_t[]){ 0, 0, 0, 1, 1, 1 }, 6));
}

/* Pillow's grey: green weighs most; pure (128, 128, 128) is 128 exactly. */
TEST(latents__mask_of_colours_is_judged_by_pillows_grey)
{
    uint8_t rgb[] = { 128, 128, 128, 127, 127, 127, 0, 218, 0, 0, 217, 0, 255, 0, 0, 255, 255, 0 }, got[6];
    struct image mask = { 6, 1, 3, rgb };

    latents_binarise_mask(&mask, got);
    CHECK(!memcmp(got, (uint8_t[]){ 1, 0, 1, 0, 0, 1 }, 6)); /* greens: 127.97 rounds to 128, 127.4 to 127 */
}
