/* fuzz_splice - any bytes as a JPEG photo that is edited: some of its blocks are exchanged, and the file that comes out
 * is compared with the picture. The small arena refuses large ones, which keeps a run short. */
#include <stdint.h>
#include <stdlib.h>

#include "models/codec/jpeg_splice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void edit(struct arena *a, struct span photo, struct image *im)
{
    struct jpeg_splice_info info;
    struct jpeg_changes changes;
    struct span file;

    for (size_t i = image_bytes(im) / 3; i < image_bytes(im) / 2; i++)
        im->pixels[i] = (uint8_t)(im->pixels[i] ^ 0x55);
    if (!jpeg_splice(a, photo, im, &(struct jpeg_options){ .quality = 95 }, &file, &info, NULL) &&
        jpeg_count_changes(a, file, im, NULL, 0, &changes, NULL))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span photo = { (const char *)data, size };
    struct arena a = { 0 };
    struct image im, rgb;

    if (arena_init(&a, 8 << 20, NULL))
        abort();
    if (!jpeg_read(&a, photo, &im, NULL, NULL) && !image_to_rgb(&a, &im, &rgb, NULL))
        edit(&a, photo, &rgb);
    arena_done(&a);
    return 0;
}
