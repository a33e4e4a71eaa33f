/*
 * colour - what a model that knows only sRGB sees of a photo, and the way back, by the colour profile of the photo.
 *
 *   codes  the photo's own 8-bit values, in the space of its profile
 *   sRGB   f32 in levels, 0 black and 255 white, not rounded and not clipped: a colour of Display P3 that sRGB lacks is
 *          a value below 0 or above 255, and finds its way back; u8 is rounded and clipped, for the model
 *
 * There are three kinds of photos. Most are sRGB, because they say so, say nothing or have a profile that differs by
 * one level at the most: nothing is computed (is_srgb). Most of the others have a profile of three curves and a matrix:
 * colour_matrix.h, where there and back again is exact. The rest have tables (scanners, printers), through which lcms2
 * goes: its two directions are measured by different people and clipped to the colours of the device, so that the way
 * back is close (some levels), not exact.
 *
 * The intent is relative colorimetric with black point compensation: white becomes white, black becomes black, and a
 * colour that both spaces have stays that colour, which is what makes the way back possible. The perceptual intent
 * moves all colours, each profile in its own taste, and differs from the relative one in tables only.
 *
 * A profile is bytes from strangers. Only the tags that are used are shown to lcms2, which gets COLOUR_MEMORY bytes,
 * says nothing, and is not asked for tables of floats. A profile that cannot be applied is not an error: the photo
 * counts as sRGB, keeps the profile's bytes, and `unusable` asks for the warning PROFILE_UNUSABLE.
 *
 * Errors  ERR_NOMEM of the arena, nothing else
 * Source  ICC.1:2022; Little CMS 2
 */
#ifndef MODELS_NOTES_COLOUR_H
#define MODELS_NOTES_COLOUR_H

#include "models/image/image.h"

enum { COLOUR_NAME_MAX = 64, COLOUR_MEMORY = 96 << 20 };

struct colour_matrix;

struct colour {
    bool is_srgb;               /* codes are sRGB: the functions below only change their type */
    bool unusable;              /* there is a profile, but it cannot be applied */
    char name[COLOUR_NAME_MAX]; /* of the space: "sRGB", "untagged", or what the profile says, in printable ASCII */
    const struct colour_matrix *matrix;    /* NULL: tables, or sRGB */
    void *table_to_srgb, *table_from_srgb; /* of lcms2; NULL: no tables */
};

/*
 * The space of RGB pixels. `icc` is the profile of the file: empty where it has none. A profile of another kind (grey,
 * CMYK) names the space that the file had; the pixels count as sRGB, to which the reader has brought them. Everything
 * is from the arena, what lcms2 holds is released with it.
 */
MUST_CHECK enum err_code colour_open(struct arena *a, struct span icc, struct colour *ret, struct err *err);

/* n pixels [n, 3], in all threads. The functions may be called from several threads at once. */
void colour_to_srgb(const struct colour *c, const uint8_t *codes, size_t n, float *ret);
void colour_to_srgb_u8(const struct colour *c, const uint8_t *codes, size_t n, uint8_t *ret);

/* n pixels of sRGB -> codes, 0 to 255 and not rounded. ret may be srgb. */
void colour_from_srgb(const struct colour *c, const float *srgb, size_t n, float *ret);

/* The same for a whole picture that must be 8 bits; ret is from the arena, and shares the pixels where c is sRGB. */
MUST_CHECK enum err_code colour_image_to_srgb(const struct colour *c, struct arena *a, const struct image *src,
                                              struct image *ret, struct err *err);

/* A grey picture in place, by its profile for grey; without one that can be applied, it stays as it is. */
MUST_CHECK enum err_code colour_grey_to_srgb(struct arena *a, struct span icc, struct image *grey, struct err *err);

/* From inverted CMYK, 255 no ink, as JPEG files have it. *ret NULL: the profile is not for CMYK, or cannot be applied.
 */
struct colour_inks;
MUST_CHECK enum err_code colour_inks_open(struct arena *a, struct span icc, struct colour_inks **ret, struct err *err);

/* n pixels [n, 4] -> [n, 3], in one thread. */
void colour_inks_to_srgb(const struct colour_inks *inks, const uint8_t *cmyk, size_t n, uint8_t *ret);

#endif
