#include "models/vae/pixels.h"

#include "test/support/check.h"

TEST(pixels__bytes_survive_the_round_trip)
{
    uint8_t bytes[258], back[258];
    struct image im = { 86, 1, 3, bytes };
    float v[258];

    for (int i = 0; i < 258; i++)
        bytes[i] = (uint8_t)i;
    pixels_to_vae(&im, v);
    CHECK(v[0] == -1 && v[255] == 1);
    pixels_from_vae(v, 258);
    pixels_to_bytes(v, 258, back);
    for (int i = 0; i < 258; i++)
        CHECK_INT(back[i], bytes[i]);
}

TEST(pixels__out_of_range_is_clamped_and_halves_go_to_even)
{
    float v[] = { -7, 9, 0.5f / 255, 1.5f / 255, 2.5f / 255 };
    uint8_t got[5];

    pixels_from_vae(v, 2);
    pixels_to_bytes(v, 5, got);
    CHECK_INT(got[0], 0);
    CHECK_INT(got[1], 255);
    CHECK_INT(got[2], 0);
    CHECK_INT(got[3], 2);
    CHECK_INT(got[4], 2);
}
