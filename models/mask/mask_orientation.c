#include "models/mask/mask_orientation.h"

#include <stdint.h>
#include <string.h>

#include "models/image/mask.h"

static const char *const words[] = { [MASK_ORIENTATION_ANY] = "",
                                     [MASK_DISPLAYED] = "displayed",
                                     [MASK_STORED] = "stored",
                                     [MASK_ORIENTATION_UNKNOWN] = "" };

const char *mask_orientation_word(enum mask_orientation orientation)
{
    return words[orientation];
}

enum mask_orientation mask_orientation_of_word(const char *word)
{
    for (int i = MASK_DISPLAYED; i <= MASK_STORED; i++)
        if (strcmp(word, words[i]) == 0)
            return (enum mask_orientation)i;
    return MASK_ORIENTATION_UNKNOWN;
}

static bool fits(const struct mask_sides *s, int turn)
{
    bool swaps = turn >= 5;

    return mask_has_shape(swaps ? s->mask_height : s->mask_width, swaps ? s->mask_width : s->mask_height,
                          s->photo_width, s->photo_height);
}

static enum err_code refuse(const struct mask_sides *s, struct err *err)
{
    return err_set(err, ERR_MASK_SIZE,
                   "the mask has %d x %d pixels and the photo %d x %d, so that their shapes differ; the mask was made "
                   "for another picture or for a part of this one",
                   s->mask_width, s->mask_height, s->photo_width, s->photo_height);
}

enum err_code mask_choose_turn(const struct mask_sides *s, enum mask_orientation wish, struct mask_turn *ret,
                               struct err *err)
{
    const struct mask_turn turns[] = {
        { MASK_DISPLAYED, s->mask_orientation },
        { MASK_DISPLAYED, 1 }, /* Exif data of the photo that the mask kept when it was turned */
        { MASK_STORED, s->photo_orientation },
    };

    if (wish == MASK_ORIENTATION_UNKNOWN)
        return err_set(err, ERR_MASK_AMBIGUOUS,
                       "the orientation that the app names for the mask is not known; it can be displayed or stored");
    for (int i = 0; i < 3; i++)
        if ((wish == MASK_ORIENTATION_ANY || wish == turns[i].orientation) && fits(s, turns[i].turn)) {
            *ret = turns[i];
            return ERR_OK;
        }
    return refuse(s, err);
}
