#include "worker/local/audit_pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/file.h"
#include "models/codec/jpeg.h"
#include "models/codec/png.h"
#include "models/image/resize.h"

/* A side of the box, if need be cut to AUDIT_SHOWN_SIDE around the middle of the hole. */
static void cut_side(int *from, int *to, int hole_from, int hole_to)
{
    int begin = *from, end = *to, middle = hole_from + (hole_to - hole_from) / 2;

    if (end - begin <= AUDIT_SHOWN_SIDE)
        return;
    *from = middle - AUDIT_SHOWN_SIDE / 2;
    *from = *from < begin ? begin : *from > end - AUDIT_SHOWN_SIDE ? end - AUDIT_SHOWN_SIDE : *from;
    *to = *from + AUDIT_SHOWN_SIDE;
}

static struct image_box shown_box(const struct crop *c)
{
    struct image_box b = c->box;

    cut_side(&b.left, &b.right, c->hole.left, c->hole.right);
    cut_side(&b.top, &b.bottom, c->hole.top, c->hole.bottom);
    return b;
}

/* Both have the same size. */
static enum err_code difference_of(const struct image *x, const struct image *y, struct arena *a, struct image *ret,
                                   struct err *err)
{
    TRY(image_new(a, x->width, x->height, 3, ret, err));
    for (size_t i = 0; i < image_bytes(ret); i++) {
        int d = abs(x->pixels[i] - y->pixels[i]) * AUDIT_FACTOR;

        ret->pixels[i] = (uint8_t)(d > 255 ? 255 : d);
    }
    return ERR_OK;
}

static int64_t count_changed(const struct image *x, const struct image *y)
{
    int64_t n = 0;

    for (size_t i = 0; i < image_bytes(x); i += 3)
        n += memcmp(x->pixels + i, y->pixels + i, 3) != 0;
    return n;
}

/* ---- files ---- */

/* *ret: the path below the audit's folder; `folder` NULL: in that folder itself. */
static enum err_code write_file(const struct audit_place *place, const char *folder, const char *name,
                                struct span bytes, struct arena *a, const char **ret, struct err *err)
{
    char *path = NULL, *below = NULL;

    TRY(arena_printf(a, &below, err, "%s%s%s", folder ? folder : "", folder ? "/" : "", name));
    TRY(arena_printf(a, &path, err, "%s/%s", place->dir, below));
    TRY(file_write(path, bytes, err));
    *ret = below;
    return ERR_OK;
}

struct shot { /* one crop */
    const struct audit_place *place;
    int n;
    struct span icc;
    struct arena *arena;
};

static enum err_code write_jpeg(const struct shot *s, const char *folder, const char *what, const struct image *im,
                                const char **ret, struct err *err)
{
    const struct jpeg_options options = { .quality = AUDIT_QUALITY, .chroma = JPEG_CHROMA_FULL, .icc = s->icc };
    struct span bytes;
    char name[40];

    (void)snprintf(name, sizeof name, "%s-%d.jpg", what, s->n);
    TRY(jpeg_write(s->arena, im, &options, &bytes, err));
    return write_file(s->place, folder, name, bytes, s->arena, ret, err);
}

static enum err_code write_shot(const struct shot *s, const struct image *before, const struct image *after,
                                struct json *to, struct err *err)
{
    const char *paths[3];
    struct image difference;
    struct span png;
    char name[40];

    (void)snprintf(name, sizeof name, "difference-%d.png", s->n);
    TRY(write_jpeg(s, NULL, "before", before, &paths[0], err));
    TRY(write_jpeg(s, s->place->folder, "after", after, &paths[1], err));
    TRY(difference_of(before, after, s->arena, &difference, err));
    TRY(png_write(s->arena, &difference, &png, err));
    TRY(write_file(s->place, s->place->folder, name, png, s->arena, &paths[2], err));
    json_add_string(to, "before", paths[0]);
    json_add_string(to, "after", paths[1]);
    json_add_string(to, "difference", paths[2]);
    json_add_int(to, "width", before->width);
    json_add_int(to, "height", before->height);
    return ERR_OK;
}

enum err_code audit_pictures_write(const struct audit_place *place, const struct picture_input *before,
                                   const struct edit_result *r, struct arena *a, struct json *cell, struct err *err)
{
    struct json *pictures = json_add_array(cell, "pictures");
    struct image after, x, y;

    ARENA_SCRATCH(a); /* JSON copies its texts */
    TRY(png_read(a, r->png, IMAGE_ALPHA_DROP, &after, NULL, err));
    TRY(image_to_rgb(a, &after, &after, err));
    if (after.width != before->photo.width || after.height != before->photo.height)
        return err_set(err, ERR_INTERNAL, "audit: the result has %d x %d pixels, the photo %d x %d", after.width,
                       after.height, before->photo.width, before->photo.height);
    json_add_int(cell, "changedPixels", count_changed(&before->photo, &after));
    for (int i = 0; i < r->picture.plan.n; i++) {
        const struct shot shot = { place, i, before->icc, a };
        const struct image_box box = shown_box(&r->picture.plan.crops[i]);

        TRY(image_cut(a, &before->photo, box, &x, err));
        TRY(image_cut(a, &after, box, &y, err));
        TRY(write_shot(&shot, &x, &y, json_add_object(pictures, NULL), err));
    }
    return ERR_OK;
}
