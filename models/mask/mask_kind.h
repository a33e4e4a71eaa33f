/*
 * mask_kind - which pixels of the photo a mask file means: its kind and polarity, told from the file and the photo.
 *
 *   white          a bright or coloured figure on black
 *   alpha-painted  strokes of any colour on a transparent ground
 *   alpha-hole     an opaque picture with a transparent part, which is meant
 *   inverted       a dark figure on a bright ground
 *   labels         values or colours that stand for things; all but the ground are meant
 *   painted-over   the photo itself with flat paint on it
 *   cut-out        a part of the photo on a transparent or flat ground; the part is meant
 *
 * What the session says wins. Otherwise a reading is taken only when the colours, the frame of the picture and the
 * share that it marks agree; a picture that can be read in two ways, or in none, is refused with a sentence that says
 * what was seen. A level counts as marked from half of the lowest flat level on, so that faint brushes and labels 0, 1,
 * 2 count whole and the soft edge of a brush counts to its middle.
 *
 *   ret    [H, W, 1] u8, 255 repaint, 0 keep: upright, at the mask's own size
 *
 * Errors  ERR_MASK_AMBIGUOUS, ERR_MASK_EMPTY, ERR_MASK_FULL, ERR_MASK_SIZE with a plain sentence; ERR_NOMEM
 */
#ifndef MODELS_MASK_MASK_KIND_H
#define MODELS_MASK_MASK_KIND_H

#include "models/image/image.h"
#include "models/mask/mask_orientation.h"

enum mask_kind {
    MASK_KIND_ANY, /* of wishes: not said */
    MASK_KIND_WHITE,
    MASK_KIND_ALPHA_PAINTED,
    MASK_KIND_ALPHA_HOLE,
    MASK_KIND_INVERTED,
    MASK_KIND_LABELS,
    MASK_KIND_PAINTED_OVER,
    MASK_KIND_CUT_OUT,
    MASK_KIND_UNKNOWN /* of wishes: a word that is none of these */
};

/* What the session says about its mask. */
struct mask_wishes {
    enum mask_kind kind;
    enum mask_orientation orientation;
};

/* A mask file decoded with IMAGE_ALPHA_RAW. Everything is borrowed. */
struct mask_file {
    struct image stored;
    const uint8_t *alpha, *index; /* [height, width]; NULL: none */
    int orientation;              /* of its own Exif data; 1: none */
    bool lossy;                   /* JPEG, or WebP that is not lossless: flat parts have noise */
};

struct mask_photo {
    const struct image *displayed; /* [H, W, 3], upright */
    int orientation;               /* of its file */
};

struct mask_decision {
    enum mask_kind kind;
    enum mask_orientation orientation;
    const char *reason; /* a short English phrase that stays the same */
};

/* "white"; "" for ANY and UNKNOWN. */
const char *mask_kind_word(enum mask_kind kind);
/* MASK_KIND_UNKNOWN for any other word. */
enum mask_kind mask_kind_of_word(const char *word);

MUST_CHECK enum err_code mask_decide(struct arena *a, const struct mask_file *file, const struct mask_photo *photo,
                                     const struct mask_wishes *wishes, struct image *ret, struct mask_decision *ret_why,
                                     struct err *err);

#endif
