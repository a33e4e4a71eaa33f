/*
 * box - rectangles of pixels: columns left to right - 1 in rows top to bottom - 1.
 */
#ifndef MODELS_IMAGE_BOX_H
#define MODELS_IMAGE_BOX_H

#include <stdbool.h>

struct image_box {
    int left, top, right, bottom;
};

static inline int box_width(struct image_box b)
{
    return b.right - b.left;
}

static inline int box_height(struct image_box b)
{
    return b.bottom - b.top;
}

static inline bool box_is_empty(struct image_box b)
{
    return b.left >= b.right || b.top >= b.bottom;
}

/* Whether they have a pixel in common; neither is empty. */
static inline bool box_meets(struct image_box a, struct image_box b)
{
    return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

/* The smallest box around both. */
static inline struct image_box box_join(struct image_box a, struct image_box b)
{
    return (struct image_box){ a.left < b.left ? a.left : b.left, a.top < b.top ? a.top : b.top,
                               a.right > b.right ? a.right : b.right, a.bottom > b.bottom ? a.bottom : b.bottom };
}

/* The box with `by` pixels more on each side, as far as they are in `within`. */
static inline struct image_box box_grow(struct image_box b, int by, struct image_box within)
{
    return (struct image_box){ b.left - by > within.left ? b.left - by : within.left,
                               b.top - by > within.top ? b.top - by : within.top,
                               b.right + by < within.right ? b.right + by : within.right,
                               b.bottom + by < within.bottom ? b.bottom + by : within.bottom };
}

/* Where the box is in a picture that is cut out along `outer`. */
static inline struct image_box box_in(struct image_box b, struct image_box outer)
{
    return (struct image_box){ b.left - outer.left, b.top - outer.top, b.right - outer.left, b.bottom - outer.top };
}

#endif
