/*
 * profiles - builds colour profiles (ICC.1, version 2) for tests. All memory is from the arena; what fails aborts the
 * test.
 */
#ifndef TEST_SUPPORT_PROFILES_H
#define TEST_SUPPORT_PROFILES_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

/* Three curves and a matrix. */
struct profile_rgb {
    const char *name;
    double xyz[3][3]; /* of full red, green, blue, relative to D50 */
    double gamma;     /* 0: the curve of sRGB */
    int points;       /* of a table with the curve's values; 0: the curve is a formula */
};
extern const struct profile_rgb profile_srgb, profile_p3, profile_adobe, profile_prophoto;
struct span profile_of_rgb(struct arena *a, const struct profile_rgb *p);

/* Light is code to the power of gamma; `points` as above. */
struct span profile_of_grey(struct arena *a, double gamma, int points);

/* Tables from and to Lab: four inks that absorb light one after the other, or sRGB on a scanner's grid. */
struct span profile_of_cmyk(struct arena *a);
struct span profile_of_rgb_tables(struct arena *a);

/* A profile of any tags: `data` begins with the type's signature. `space` and `pcs` have four letters. */
struct profile_tag {
    const char *name;
    struct span data;
};
struct span profile_of_tags(struct arena *a, const char *kind, const char *space, const char *pcs,
                            const struct profile_tag *tags, int n);

/* The file with the profile in APP2 segments behind its first two bytes. */
struct span jpeg_with_profile(struct arena *a, struct span jpeg, struct span profile);

#endif
