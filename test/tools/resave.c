/*
 * resave DIR - saves a photo exactly as the worker does, without painting: DIR/original.jpg, DIR/mask_auto.png ->
 * DIR/resaved.jpg.
 *
 * A JPEG of quality 95 rounds colours, so edited.jpg differs from original.jpg nearly everywhere by a few levels,
 * although no pixel beyond the grown mask was painted. It differs from resaved.jpg only where the worker painted: JPEG
 * works in squares of 8 x 8 pixels, and each square without a painted pixel decodes to the same values from both files.
 */
#include <stdio.h>

#include "kernels/base/file.h"
#include "models/picture/picture.h"

enum { PATH_SIZE = 1024 };

static enum err_code path_in(const char *dir, const char *name, char path[PATH_SIZE], struct err *err)
{
    if (snprintf(path, PATH_SIZE, "%s/%s", dir, name) >= PATH_SIZE)
        return err_set(err, ERR_INVALID, "the path %.80s... is too long", dir);
    return ERR_OK;
}

static enum err_code load(struct arena *a, const char *dir, const char *name, struct span *ret, struct err *err)
{
    char path[PATH_SIZE];

    TRY(path_in(dir, name, path, err));
    return file_read(path, IMAGE_MAX_FILE_BYTES, a, ret, err);
}

static enum err_code resave(struct arena *a, const char *dir, struct err *err)
{
    struct span original, mask;
    const struct picture_settings settings = { 0 };
    struct picture_record record = { 0 };
    struct picture_input in;
    struct picture_files files;
    char path[PATH_SIZE];

    TRY(arena_init(a, PICTURE_ARENA_BYTES, err));
    TRY(load(a, dir, "original.jpg", &original, err));
    TRY(load(a, dir, "mask_auto.png", &mask, err));
    TRY(picture_read(a, original, mask, &settings, &in, &record, err));
    TRY(picture_encode(a, &in, &settings, &record, &files, err));
    TRY(path_in(dir, "resaved.jpg", path, err));
    return file_write(path, files.edited, err);
}

int main(int argc, char **argv)
{
    struct err err = { 0 };
    struct arena a = { 0 };
    enum err_code rc;

    if (argc != 2 || argv[1][0] == '-') {
        (void)fprintf(stderr, "usage: resave DIR\n");
        return 2;
    }
    rc = resave(&a, argv[1], &err);
    if (rc)
        (void)fprintf(stderr, "resave: %s\n", err.msg);
    arena_done(&a);
    return rc ? 1 : 0;
}
