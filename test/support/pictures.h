/*
 * pictures - pictures for tests: read from files, drawn, and compared.
 */
#ifndef TEST_SUPPORT_PICTURES_H
#define TEST_SUPPORT_PICTURES_H

#include "models/image/image.h"
#include "test/support/check.h"

/* The contents of a file, in the arena; fails the test when it cannot be read. */
struct span file_bytes(struct arena *a, const char *path);

/* The picture of a PNG file, without its alpha; fails the test when it cannot be read. */
void picture_from_png(struct arena *a, const char *path, struct image *ret);

/* Random pixels, the same for the same seed. */
void picture_of_noise(struct arena *a, int width, int height, int channels, unsigned seed, struct image *ret);

void check_same_picture(const char *file, int line, const struct image *got, const struct image *want);
#define CHECK_SAME_PICTURE(got, want) check_same_picture(__FILE__, __LINE__, (got), (want))

#endif
