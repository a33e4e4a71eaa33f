#include "test/support/pictures.h"

#include <stdio.h>

#include "models/codec/png.h"

struct span file_bytes(struct arena *a, const char *path)
{
    FILE *f = fopen(path, "rb");
    struct err err = { 0 };
    char *bytes = NULL;
    size_t n = 0;
    long size;

    CHECK(f != NULL);
    CHECK(fseek(f, 0, SEEK_END) == 0);
    size = ftell(f);
    rewind(f);
    CHECK(size >= 0);
    CHECK_OK(arena_alloc(a, (size_t)size, 1, &bytes, &err), err);
    n = fread(bytes, 1, (size_t)size, f);
    CHECK(fclose(f) == 0);
    CHECK_INT(n, size);
    return (struct span){ bytes, n };
}

void picture_from_png(struct arena *a, const char *path, struct image *ret)
{
    struct err err = { 0 };

    CHECK_OK(png_read(a, file_bytes(a, path), IMAGE_ALPHA_DROP, ret, NULL, &err), err);
}

void picture_of_noise(struct arena *a, int width, int height, int channels, unsigned seed, struct image *ret)
{
    struct err err = { 0 };
    uint32_t state = seed * 2654435761u + 1;

    CHECK_OK(image_new(a, width, height, channels, ret, &err), err);
    for (size_t i = 0; i < image_bytes(ret); i++) {
        state = state * 1664525u + 1013904223u;
        ret->pixels[i] = (uint8_t)(state >> 24);
    }
}

void check_same_picture(const char *file, int line, const struct image *got, const struct image *want)
{
    size_t different = 0;

    if (got->width != want->width || got->height != want->height || got->channels != want->channels)
        test_fail(file, line, "%d x %d x %d, want %d x %d x %d", got->width, got->height, got->channels, want->width,
                  want->height, want->channels);
    for (size_t i = 0; i < image_bytes(want); i++)
        different += got->pixels[i] != want->pixels[i];
    if (different)
        test_fail(file, line, "%zu of %zu bytes differ", different, image_bytes(want));
}
