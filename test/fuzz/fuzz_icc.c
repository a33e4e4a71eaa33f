/* fuzz_icc - any bytes as a colour profile: of RGB, grey and four inks. */
#include <stdint.h>
#include <stdlib.h>

#include "models/notes/colour.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t codes[12] = { 0, 0, 0, 255, 255, 255, 200, 20, 90, 3, 200, 100 };
    struct span icc = { (const char *)data, size };
    struct arena a = { 0 };
    struct colour_inks *inks = NULL;
    struct colour c;
    uint8_t pixels[12] = { 0, 50, 100, 255 };
    struct image grey = { 4, 1, 1, pixels };
    float srgb[12], back[12];

    if (arena_init(&a, 8 << 20, NULL))
        abort();
    if (!colour_open(&a, icc, &c, NULL)) {
        colour_to_srgb(&c, codes, 4, srgb);
        colour_from_srgb(&c, srgb, 4, back);
        for (int i = 0; i < 12; i++)
            if (!(back[i] >= 0 && back[i] <= 255))
                abort();
    }
    (void)!colour_grey_to_srgb(&a, icc, &grey, NULL);
    if (!colour_inks_open(&a, icc, &inks, NULL) && inks)
        colour_inks_to_srgb(inks, codes, 3, pixels);
    arena_done(&a);
    return 0;
}
