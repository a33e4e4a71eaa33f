/*
 * audit_pictures - what an audit shows of one result: of each crop the photo before, the result after, and their
 * difference, pixel by pixel.
 *
 *   DIR/before-N.jpg, DIR/FOLDER/after-N.jpg   of crop N, at most AUDIT_SHOWN_SIDE pixels a side around what is marked
 *   DIR/FOLDER/difference-N.png                the difference of each channel times AUDIT_FACTOR
 *
 * Both sides are pixels before they are encoded as JPEG, so that the difference is 0 wherever nothing was painted.
 */
#ifndef WORKER_LOCAL_AUDIT_PICTURES_H
#define WORKER_LOCAL_AUDIT_PICTURES_H

#include "worker/base/json.h"
#include "worker/job/edit.h"

enum { AUDIT_FACTOR = 20, AUDIT_SHOWN_SIDE = 1600, AUDIT_QUALITY = 95 };

/* Where the pictures go: paths in messages and on the page are relative to `dir`. */
struct audit_place {
    const char *dir, *folder;
};

/* before: the photo as picture_read() gives it. `r` was made with wants_png. Adds to `cell` "pictures" and
 * "changedPixels". ERR_IO and errors of the codecs. */
MUST_CHECK enum err_code audit_pictures_write(const struct audit_place *place, const struct picture_input *before,
                                              const struct edit_result *r, struct arena *a, struct json *cell,
                                              struct err *err);

#endif
