/*
 * picture_settings - what an operator decides about pictures: the settings of models/picture, of the mask and of the
 * files. worker/base/config.c has their names and defaults in the environment; zero is the plain choice of each.
 */
#ifndef MODELS_PICTURE_PICTURE_SETTINGS_H
#define MODELS_PICTURE_PICTURE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

/* Each in the order of the words of its setting. */
enum picture_geometry_mode { PICTURE_CROP, PICTURE_FULL };
enum picture_output { PICTURE_Q95, PICTURE_SPLICE };
enum picture_second_pass { PICTURE_SECOND_OFF, PICTURE_SECOND_SEAM, PICTURE_SECOND_BOTH };

struct picture_settings {
    int64_t max_pixels; /* of a photo or a mask; 0: IMAGE_MAX_PIXELS */
    enum picture_geometry_mode geometry;
    bool patch_match;                  /* grain and colour of the painted part are matched to the photo */
    int mask_grow_px, mask_feather_px; /* pixels of the photo; 0: chosen by its size and scale */
    double mask_max_share;             /* of the photo's pixels; 0: no limit */
    bool shadow;                       /* the mask grows into a soft shadow */
    enum picture_output output;
    bool fast_huffman; /* edited.jpg is written faster, and some 5 % larger */
    enum picture_second_pass second_pass;
    bool decode_jail, heic;
};

#endif
