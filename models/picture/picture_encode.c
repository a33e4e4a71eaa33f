#include "models/picture/picture.h"

#include <math.h>
#include <string.h>

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
    struct image small;

    TRY(shrink_to_preview(a, &in->photo, &small, err));
    ret->preview_width = small.width;
    ret->preview_height = small.height;
    return picture_write_preview(a, &small, in->icc, &ret->preview, err);
}

/* Writes both files at the same time, in two threads; ret->preview is from `scratch`. */
static enum err_code write_both(struct arena *a, struct arena *scratch, const struct picture_input *in,
                                const struct picture_settings *settings, struct picture_files *ret, struct err *err)
{
    const struct picture_to_write edited = { &in->photo, in->icc, in->exif, in->original };
    struct err edited_err = { 0 }, preview_err = { 0 };
    enum err_code edited_rc = ERR_OK, preview_rc = ERR_OK;

#pragma omp parallel sections
    {
#pragma omp section
        edited_rc = picture_write_edited(a, &edited, settings, &ret->edited, &ret->written, &edited_err);
#pragma omp section
        preview_rc = write_preview(scratch, in, ret, &preview_err);
    }
    if (edited_rc)
        return err_set(err, edited_rc, "edited: %s", edited_err.msg);
    return preview_rc ? err_set(err, preview_rc, "preview: %s", preview_err.msg) : ERR_OK;
}

enum err_code picture_encode(struct arena *a, const struct picture_input *in, const struct picture_settings *settings,
                             struct picture_record *record, struct picture_files *ret, struct err *err)
{
    struct picture_files files = { .width = in->photo.width, .height = in->photo.height };
    struct arena scratch;
    char *copy = NULL;
    enum err_code rc;

    TRY(arena_init(&scratch, PREVIEW_ARENA_BYTES, err));
    rc = write_both(a, &scratch, in, settings, &files, err);
    if (!rc)
        rc = span_dup(a, files.preview, &copy, err);
    arena_done(&scratch);
    if (rc)
        return rc;
    files.preview.ptr = copy;
    record->has_output = true;
    record->output = files.written.mode;
    if (settings->output == PICTURE_SPLICE && files.written.mode != PICTURE_SPLICE)
        picture_warn(record, "SPLICE_NOT_POSSIBLE");
    *ret = files;
    return ERR_OK;
}

/* ---- what the file changes beyond what was painted ---- */

/* Marks the pixels of a crop that the paste may have changed. */
static enum err_code patch_of(struct arena *a, const struct picture_input *in, const struct paste_edge *e,
                              struct image_box hole, struct jpeg_patch *ret, struct err *err)
{
    const size_t n = (size_t)box_width(hole) * (size_t)box_height(hole);
    const int most = e->grow * e->grow;
    uint16_t *distance = NULL;
    uint8_t *changed = NULL;
    float *share = NULL;

    TRY(arena_alloc(a, n, 1, &changed, err));
    TRY(distance_squared(a, &in->mask, hole, e->grow, &distance, err));
    TRY(paste_shares(a, e, &share, err));
    for (size_t i = 0; i < n; i++)
        changed[i] = distance[i] <= most && share[distance[i]] > 0;
    *ret = (struct jpeg_patch){ hole, changed, (size_t)box_width(hole) };
    return ERR_OK;
}

enum err_code picture_count_changes(struct arena *a, const struct picture_input *in, struct span edited,
                                    struct picture_record *record, struct err *err)
{
    ARENA_SCRATCH(a);
    struct jpeg_patch patches[CROP_MAX];
    struct jpeg_changes changes;

    for (int i = 0; i < record->plan.n; i++)
        TRY(patch_of(a, in, &record->edge, record->plan.crops[i].hole, &patches[i], err));
    TRY(jpeg_count_changes(a, edited, &in->photo, patches, record->plan.n, &changes, err));
    record->has_changes = true;
    record->changed_outside = changes.n_outside;
    record->max_outside = changes.most;
    return ERR_OK;
}
