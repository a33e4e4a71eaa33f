#include "models/picture/picture.h"

#include <math.h>
#include <string.h>

#include "models/codec/jpeg.h"
#include "models/image/resize.h"

#define PREVIEW_ARENA_BYTES ((size_t)64 << 20) /* for the photo between the passes of the resampling, and the file */

void picture_warn(struct picture_record *r, const char *code)
{
    for (int i = 0; i < r->n_warnings; i++)
        if (strcmp(r->warnings[i], code) == 0)
            return;
    if (r->n_warnings < PICTURE_WARNINGS_MAX)
        r->warnings[r->n_warnings++] = code;
}

static int clamp_int(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}

static enum err_code shrink_to_preview(struct arena *a, const struct image *photo, struct image *ret, struct err *err)
{
    int long_side = photo->width > photo->height ? photo->width : photo->height;
    double scale = (double)PREVIEW_LONG_SIDE / long_side;

    if (long_side <= PREVIEW_LONG_SIDE) {
        *ret = *photo;
        return ERR_OK;
    }
    return image_resize(a, photo, clamp_int((int)lround(photo->width * scale), 1, PREVIEW_LONG_SIDE),
                        clamp_int((int)lround(photo->height * scale), 1, PREVIEW_LONG_SIDE), ret, err);
}

static enum err_code write_preview(struct arena *a, const struct picture_input *in, struct picture_files *ret,
                                   struct err *err)
{
    const struct jpeg_options options = { PREVIEW_QUALITY, JPEG_CHROMA_HALF, in->icc };
    struct image small;

    TRY(shrink_to_preview(a, &in->photo, &small, err));
    ret->preview_width = small.width;
    ret->preview_height = small.height;
    return jpeg_write(a, &small, &options, &ret->preview, err);
}

/* Writes both files at the same time, in two threads; ret->preview is from `scratch`. */
static enum err_code write_both(struct arena *a, struct arena *scratch, const struct picture_input *in,
                                struct picture_files *ret, struct err *err)
{
    const struct jpeg_options options = { EDITED_QUALITY, JPEG_CHROMA_FULL, in->icc };
    struct err edited_err = { 0 }, preview_err = { 0 };
    enum err_code edited_rc = ERR_OK, preview_rc = ERR_OK;

#pragma omp parallel sections
    {
#pragma omp section
        edited_rc = jpeg_write(a, &in->photo, &options, &ret->edited, &edited_err);
#pragma omp section
        preview_rc = write_preview(scratch, in, ret, &preview_err);
    }
    if (edited_rc)
        return err_set(err, edited_rc, "edited: %s", edited_err.msg);
    return preview_rc ? err_set(err, preview_rc, "preview: %s", preview_err.msg) : ERR_OK;
}

enum err_code picture_encode(struct arena *a, const struct picture_input *in, struct picture_files *ret,
                             struct err *err)
{
    struct picture_files files = { .width = in->photo.width, .height = in->photo.height };
    struct arena scratch;
    char *copy = NULL;
    enum err_code rc;

    TRY(arena_init(&scratch, PREVIEW_ARENA_BYTES, err));
    rc = write_both(a, &scratch, in, &files, err);
    if (!rc)
        rc = span_dup(a, files.preview, &copy, err);
    arena_done(&scratch);
    files.preview.ptr = copy;
    if (!rc)
        *ret = files;
    return rc;
}
