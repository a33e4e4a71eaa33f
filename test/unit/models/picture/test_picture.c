#include "models/picture/picture.h"

#include <string.h>

#include "models/codec/decode.h"
#include "models/codec/jpeg.h"
#include "models/codec/png.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"
#include "test/support/png_build.h"

enum { ARENA = 256 << 20 };

/* Smooth, so that JPEG and resampling change the pixels little. */
static void draw_slopes(struct arena *a, int width, int height, struct image *ret)
{
    struct err err = { 0 };

    CHECK_OK(image_new(a, width, height, 3, ret, &err), err);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *p = ret->pixels + 3 * ((size_t)y * (size_t)width + (size_t)x);
            p[0] = (uint8_t)(x * 255 / width);
            p[1] = (uint8_t)(y * 255 / height);
            p[2] = (uint8_t)((x + y) * 255 / (width + height));
        }
}

static struct span mask_file(struct arena *a, int width, int height, int left, int top, int right, int bottom)
{
    struct err err = { 0 };
    struct image mask;
    struct span file;

    CHECK_OK(image_new(a, width, height, 1, &mask, &err), err);
    for (int y = top; y < bottom; y++)
        memset(mask.pixels + (size_t)y * (size_t)width + left, 255, (size_t)(right - left));
    CHECK_OK(png_write(a, &mask, &file, &err), err);
    return file;
}

static struct span photo_file(struct arena *a, const struct image *im, struct span icc)
{
    struct err err = { 0 };
    struct span file;

    CHECK_OK(jpeg_write(a, im, &(struct jpeg_options){ .quality = 92, .chroma = JPEG_CHROMA_HALF, .icc = icc }, &file, &err), err);
    return file;
}

/* With the plain choice of every setting. */
static enum err_code read_pair(struct arena *a, struct span original, struct span mask, struct picture_input *in,
                               struct err *err)
{
    const struct picture_settings settings = { 0 };
    struct picture_record record = { 0 };

    return picture_read(a, original, mask, &settings, in, &record, err);
}

/* All stages, with a painted picture that is white everywhere, and with a profile and GPS data in the original. */
TEST(picture__changes_nothing_beyond_the_grown_mask_and_keeps_only_the_profile)
{
    static const char gps[] = "\xff\xe1\x00\x20" "Exif\0\0MM\0*\0\0\0\x08\0\1\x88\x25\0\4\0\0\0\1\0\0\0\x1a" "GPS!";
    struct arena a;
    struct err err = { 0 };
    const struct picture_settings settings = { 0 };
    struct picture_record record = { 0 };
    struct image photo, before;
    struct image_f32 painted;
    struct picture_model_input model;
    struct picture_input in;
    struct picture_files files;
    struct image_notes notes;
    struct span file, mask;
    char icc[200] = { [3] = (char)200, [16] = 'R', 'G', 'B', ' ', [36] = 'a', 'c', 's', 'p' }, *tagged = NULL;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    draw_slopes(&a, 1500, 1000, &photo);
    file = photo_file(&a, &photo, (struct span){ icc, sizeof icc });
    CHECK_OK(arena_alloc(&a, file.len + sizeof gps - 1, 1, &tagged, &err), err);
    memcpy(tagged, file.ptr, 2);
    memcpy(tagged + 2, gps, sizeof gps - 1);
    memcpy(tagged + 2 + sizeof gps - 1, file.ptr + 2, file.len - 2);
    file = (struct span){ tagged, file.len + sizeof gps - 1 };
    mask = mask_file(&a, 1500, 1000, 300, 200, 700, 500);

    CHECK_OK(picture_read(&a, file, mask, &settings, &in, &record, &err), err);
    CHECK_OK(image_decode(&a, file, &(struct decode_options){ .alpha = IMAGE_ALPHA_DROP }, &before, &notes, &err), err);
    CHECK_OK(picture_plan(&a, &in, &settings, &record, &err), err);
    CHECK_INT(record.plan.n, 1);
    CHECK_OK(picture_prepare(&a, &in, &record, 0, &model, &err), err);
    CHECK_OK(image_f32_new(&a, model.picture.width, model.picture.height, &painted, &err), err);
    for (int i = 0; i < 3 * painted.width * painted.height; i++)
        painted.pixels[i] = 255;
    CHECK_OK(picture_paste(&a, &in, &model, &painted, &settings, &record, 0, &err), err);
    for (int y = 0; y < 1000; y++)
        for (int i = 0; i < 3 * 1500; i++) {
            int x = i / 3, dx = x < 300 ? 300 - x : x > 699 ? x - 699 : 0, dy = y < 200 ? 200 - y : y > 499 ? y - 499 : 0;

            if (dx * dx + dy * dy > record.edge.grow * record.edge.grow)
                CHECK_INT(in.photo.pixels[y * 4500 + i], before.pixels[y * 4500 + i]);
            else if (!dx && !dy)
                CHECK_INT(in.photo.pixels[y * 4500 + i], 255);
        }

    CHECK_OK(picture_encode(&a, &in, &settings, &record, &files, &err), err);
    for (int i = 0; i < 2; i++) {
        struct span out = i ? files.preview : files.edited;
        struct image got;

        CHECK(memmem(out.ptr, out.len, "GPS", 3) == NULL);
        CHECK((memmem(out.ptr, out.len, "Exif", 4) == NULL) == (i == 1)); /* our own, in edited.jpg alone */
        CHECK_OK(image_decode(&a, out, &(struct decode_options){ .alpha = IMAGE_ALPHA_DROP }, &got, &notes, &err), err);
        CHECK_INT(got.width, i ? 512 : 1500);
        CHECK_INT(got.height, i ? 341 : 1000);
        CHECK_INT(got.channels, 3);
        CHECK(span_eq(notes.icc, (struct span){ icc, sizeof icc }));
    }
    arena_done(&a);
}

TEST(picture__rotates_photo_and_mask_each_by_its_own_exif)
{
    struct arena a;
    struct err err = { 0 };
    struct picture_input in;
    struct image want;
    struct span rotated, lying;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    rotated = file_bytes(&a, golden("pictures/oriented_6.jpg"));
    CHECK_OK(read_pair(&a, rotated, mask_file(&a, 40, 72, 10, 10, 20, 20), &in, &err), err);
    picture_from_png(&a, golden("pictures/oriented_6.upright.png"), &want);
    CHECK_SAME_PICTURE(&in.photo, &want);
    CHECK_OK(read_pair(&a, rotated, rotated, &in, &err), err); /* a mask that is a JPEG with an orientation, too */
    lying = mask_file(&a, 72, 40, 10, 10, 20, 20);
    CHECK_INT(read_pair(&a, rotated, lying, &in, NULL), ERR_MASK_SIZE);
    arena_done(&a);
}

TEST(picture__refuses_masks_that_say_nothing_and_names_the_file_at_fault)
{
    struct arena a;
    struct err err = { 0 };
    struct picture_input in;
    struct image photo;
    struct span file, good;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    draw_slopes(&a, 120, 80, &photo);
    file = photo_file(&a, &photo, (struct span){ NULL, 0 });
    good = mask_file(&a, 120, 80, 5, 5, 9, 9);
    CHECK_INT(read_pair(&a, file, mask_file(&a, 120, 80, 0, 0, 0, 0), &in, NULL), ERR_MASK_EMPTY);
    CHECK_INT(read_pair(&a, file, mask_file(&a, 120, 80, 0, 0, 120, 80), &in, NULL), ERR_MASK_FULL);
    CHECK_INT(read_pair(&a, file, mask_file(&a, 60, 40, 0, 0, 60, 40), &in, NULL), ERR_MASK_FULL);
    CHECK_INT(read_pair(&a, file, mask_file(&a, 80, 120, 0, 0, 4, 4), &in, NULL), ERR_MASK_SIZE);
    CHECK_OK(read_pair(&a, file, mask_file(&a, 60, 40, 0, 0, 4, 4), &in, &err), err);
    CHECK_INT(read_pair(&a, file, SPAN("text"), &in, &err), ERR_NOT_AN_IMAGE);
    CHECK(strncmp(err.msg, "mask: ", 6) == 0);
    err = (struct err){ 0 };
    CHECK_INT(read_pair(&a, (struct span){ file.ptr, file.len / 2 }, good, &in, &err), ERR_CORRUPT);
    CHECK(strncmp(err.msg, "original: ", 10) == 0);
    err = (struct err){ 0 }; /* when both are damaged the photo is named, whichever decoder fails first */
    CHECK_INT(read_pair(&a, (struct span){ file.ptr, file.len / 2 }, SPAN("text"), &in, &err), ERR_CORRUPT);
    CHECK(strncmp(err.msg, "original: ", 10) == 0);
    arena_done(&a);
}

/* Each decoder runs in a thread of its own and leaves by longjmp when its file is damaged: they must share no state. */
TEST(picture__refuses_damaged_files_side_by_side_again_and_again)
{
    struct arena a;
    struct err err = { 0 };
    struct picture_input in;
    struct image photo;
    struct span file, mask;

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    draw_slopes(&a, 120, 80, &photo);
    file = photo_file(&a, &photo, (struct span){ NULL, 0 });
    mask = mask_file(&a, 120, 80, 5, 5, 9, 9);
    for (size_t i = 1; i < 60; i++) {
        struct arena_mark mark = arena_mark(&a);
        const struct span cut_file = { file.ptr, file.len - i * file.len / 60 };
        const struct span cut_mask = { mask.ptr, mask.len - (i + 20) * mask.len / 80 };

        CHECK(read_pair(&a, cut_file, cut_mask, &in, NULL) != ERR_OK);
        CHECK(read_pair(&a, file, cut_mask, &in, NULL) != ERR_OK);
        CHECK_OK(read_pair(&a, file, mask, &in, &err), err);
        arena_rewind(&a, mark);
    }
    arena_done(&a);
}

static void check_accepted(struct arena *a, struct span original, int width, int height)
{
    struct err err = { 0 };
    struct picture_input in;
    struct picture_files files;

    CHECK_OK(read_pair(a, original, mask_file(a, width, height, 1, 0, 7, 6), &in, &err), err);
    CHECK_INT(in.photo.channels, 3);
    CHECK_INT(in.icc.len, 0);
    CHECK_OK(picture_encode(a, &in, &(struct picture_settings){ 0 }, &(struct picture_record){ 0 }, &files, &err), err);
}

/* Grey, four colours, 16 bits: all become RGB. */
TEST(picture__accepts_every_kind_of_photo)
{
    struct arena a;
    struct err err = { 0 };

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    check_accepted(&a, file_bytes(&a, golden("pictures/decode_grey.jpg")), 50, 41);
    check_accepted(&a, file_bytes(&a, golden("pictures/decode_cmyk.jpg")), 48, 33);
    check_accepted(&a, file_bytes(&a, golden("pictures/mask_grey16.png")), 56, 40);
    check_accepted(&a, file_bytes(&a, golden("pictures/mask_palette.png")), 56, 40);
    arena_done(&a);
}

TEST(picture__shows_white_through_a_transparent_photo)
{
    struct arena a;
    struct err err = { 0 };
    struct picture_input in;
    struct png_build b;
    char rows[20 * 9];

    CHECK_OK(arena_init(&a, ARENA, &err), err);
    png_begin(&a, &b);
    png_ihdr(&b, 2, 20, 8, 6, 0);
    for (int y = 0; y < 20; y++)
        memcpy(rows + 9 * y, "\0abc\xff" "abc\0", 9);
    png_idat(&b, (struct span){ rows, sizeof rows });
    CHECK_OK(read_pair(&a, png_end(&b), mask_file(&a, 2, 20, 0, 0, 1, 18), &in, &err), err);
    CHECK(memcmp(in.photo.pixels, "abc\xff\xff\xff", 6) == 0);
    arena_done(&a);
}
