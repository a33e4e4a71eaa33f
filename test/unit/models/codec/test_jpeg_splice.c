#include "models/codec/jpeg_splice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "models/notes/metadata.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/pictures.h"

/* How a file is written, by libjpeg alone. */
struct kind {
    int quality, h, v; /* sampling of the first component; the others have 1 x 1 */
    bool grey, progressive, wide_tables;
    int restart; /* rows of MCUs between markers */
    J_COLOR_SPACE space;
};

static void print_nothing(j_common_ptr c)
{
    (void)c;
}

static struct span file_of_kind(struct arena *a, const struct image *im, const struct kind *k)
{
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr mgr;
    unsigned char *bytes = NULL;
    unsigned long len = 0;
    char *copy = NULL;

    c.err = jpeg_std_error(&mgr);
    mgr.output_message = print_nothing;
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &len);
    c.image_width = (JDIMENSION)im->width;
    c.image_height = (JDIMENSION)im->height;
    c.input_components = im->channels;
    c.in_color_space = im->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&c);
    if (k->grey || k->space)
        jpeg_set_colorspace(&c, k->grey ? JCS_GRAYSCALE : k->space);
    jpeg_set_quality(&c, k->quality, !k->wide_tables);
    c.comp_info[0].h_samp_factor = k->h;
    c.comp_info[0].v_samp_factor = k->v;
    c.restart_in_rows = k->restart;
    if (k->progressive)
        jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    jpeg_write_marker(&c, JPEG_COM, (const JOCTET *)"a secret comment", 16);
    while (c.next_scanline < c.image_height) {
        JSAMPROW row = im->pixels + (size_t)c.next_scanline * (size_t)im->width * (size_t)im->channels;
        (void)jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    CHECK(span_dup(a, (struct span){ (const char *)bytes, len }, &copy, NULL) == ERR_OK);
    free(bytes);
    return (struct span){ copy, len };
}

/* The coefficients of a file, by libjpeg alone. */
struct coefficients {
    struct jpeg_decompress_struct c;
    struct jpeg_error_mgr mgr;
    jvirt_barray_ptr *arrays;
};

static void open_coefficients(struct coefficients *k, struct span file)
{
    k->c.err = jpeg_std_error(&k->mgr);
    k->mgr.output_message = print_nothing;
    jpeg_create_decompress(&k->c);
    jpeg_mem_src(&k->c, (const unsigned char *)file.ptr, file.len);
    (void)jpeg_read_header(&k->c, TRUE);
    k->arrays = jpeg_read_coefficients(&k->c);
    CHECK_INT(k->mgr.num_warnings, 0);
}

static const JCOEF *block_at(struct coefficients *k, int component, JDIMENSION x, JDIMENSION y)
{
    return (*k->c.mem->access_virt_barray((j_common_ptr)&k->c, k->arrays[component], y, 1, FALSE))[x];
}

static bool box_overlaps(struct image_box b, int left, int top, int width, int height)
{
    return left < b.right && left + width > b.left && top < b.bottom && top + height > b.top;
}

/* A block is the one of the whole edited picture, encoded anew, where the box reaches into it, and else the original's. */
static void check_component(struct coefficients *was, struct coefficients *is, struct coefficients *anew, int i, struct image_box box,
                            int64_t *n_new)
{
    const jpeg_component_info *info = &was->c.comp_info[i];
    int w = 8 * was->c.max_h_samp_factor / info->h_samp_factor, h = 8 * was->c.max_v_samp_factor / info->v_samp_factor;

    CHECK_INT(is->c.comp_info[i].h_samp_factor, info->h_samp_factor);
    CHECK_INT(is->c.comp_info[i].v_samp_factor, info->v_samp_factor);
    CHECK(!memcmp(is->c.comp_info[i].quant_table->quantval, info->quant_table->quantval, sizeof info->quant_table->quantval));
    for (JDIMENSION y = 0; y < info->height_in_blocks; y++)
        for (JDIMENSION x = 0; x < info->width_in_blocks; x++) {
            bool changed = box_overlaps(box, (int)x * w, (int)y * h, w, h);
            const JCOEF *want = block_at(changed ? anew : was, i, x, y), *got = block_at(is, i, x, y);

            *n_new += changed;
            if (memcmp(got, want, 64 * sizeof *got))
                test_fail(__FILE__, __LINE__, "component %d, block %u, %u (%s) is another", i, x, y, changed ? "changed" : "kept");
        }
}

/* Every pixel in the box gets another value. */
static void repaint(struct image *im, struct image_box box)
{
    for (int y = box.top; y < box.bottom; y++)
        for (int x = box.left; x < box.right; x++)
            for (int c = 0; c < im->channels; c++)
                im->pixels[((size_t)y * (size_t)im->width + (size_t)x) * (size_t)im->channels + (size_t)c] ^= (uint8_t)(0x40 + 8 * c);
}

static void check_splice(struct arena *a, const struct image *picture, const struct kind *k, struct image_box box)
{
    struct coefficients was, is, anew;
    struct jpeg_splice_info info;
    struct span original, spliced;
    struct image im, edited;
    struct err err = { 0 };
    int64_t n_new = 0, n = 0;
    int n_components;

    original = file_of_kind(a, picture, k);
    CHECK_OK(jpeg_read(a, original, &im, NULL, &err), err);
    CHECK_OK(image_to_rgb(a, &im, &edited, &err), err);
    repaint(&edited, box);
    CHECK_OK(jpeg_splice(a, original, &edited, &(struct jpeg_options){ .quality = 1 }, &spliced, &info, &err), err);
    open_coefficients(&was, original);
    open_coefficients(&is, spliced);
    open_coefficients(&anew, file_of_kind(a, &edited, k));
    n_components = was.c.num_components;
    CHECK_INT(is.c.num_components, n_components);
    for (int i = 0; i < n_components; i++) {
        check_component(&was, &is, &anew, i, box, &n_new);
        n += (int64_t)was.c.comp_info[i].width_in_blocks * was.c.comp_info[i].height_in_blocks;
    }
    CHECK_INT(info.n_new, n_new);
    CHECK_INT(info.n_blocks, n);
    jpeg_destroy_decompress(&was.c);
    jpeg_destroy_decompress(&is.c);
    jpeg_destroy_decompress(&anew.c);
}

/* Pixels that vary smoothly, so that files have coefficients of every frequency but few that are cut off. */
static void picture_of_waves(struct arena *a, int width, int height, struct image *ret)
{
    struct err err = { 0 };

    picture_of_noise(a, width, height, 3, 5, ret);
    CHECK_INT(ret->channels, 3);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                uint8_t *p = &ret->pixels[((size_t)y * (size_t)width + (size_t)x) * 3 + (size_t)c];

                *p = (uint8_t)(60 + (x * (c + 2) * 3 + y * (5 - c)) % 97 + *p % 16);
            }
    (void)err;
}

static const struct image_box nothing = { 0, 0, 0, 0 };

TEST(splice__keeps_every_other_block_bit_for_bit_in_all_samplings_and_sizes)
{
    static const struct { int h, v; } samplings[] = { { 1, 1 }, { 2, 1 }, { 1, 2 }, { 2, 2 }, { 4, 1 }, { 4, 2 }, { 1, 4 } };
    static const struct { int w, h; } sizes[] = { { 96, 64 }, { 97, 65 }, { 95, 63 }, { 33, 70 }, { 7, 5 }, { 1, 1 }, { 1, 40 } };
    struct arena a;
    struct err err = { 0 };
    struct image im;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t k = 0; k < sizeof samplings / sizeof *samplings; k++) {
            struct kind kind = { .quality = 85, .h = samplings[k].h, .v = samplings[k].v };
            int w = sizes[s].w, h = sizes[s].h;
            struct image_box boxes[] = { nothing, { 0, 0, w, h }, { 0, 0, 1, 1 }, { w - 1, h - 1, w, h }, { w / 3, h / 3, w / 3 + 1, h / 3 + 1 },
                                         { 0, h / 2, w, h / 2 + 1 }, { w / 2, 0, w / 2 + 1, h }, { w / 4, h / 4, (3 * w + 3) / 4, (3 * h + 3) / 4 } };

            picture_of_waves(&a, w, h, &im);
            for (size_t b = 0; b < sizeof boxes / sizeof *boxes; b++) {
                struct arena_mark mark = arena_mark(&a);

                check_splice(&a, &im, &kind, boxes[b]);
                arena_rewind(&a, mark);
            }
        }
    arena_done(&a);
}

TEST(splice__takes_every_kind_of_file_in_ycbcr_and_grey)
{
    static const struct kind kinds[] = {
        { .quality = 90, .h = 2, .v = 2, .progressive = true },
        { .quality = 90, .h = 1, .v = 1, .progressive = true },
        { .quality = 75, .h = 2, .v = 1, .restart = 1 },
        { .quality = 75, .h = 1, .v = 1, .grey = true },
        { .quality = 75, .h = 2, .v = 2, .grey = true }, /* sampling that means nothing, as some cameras write it */
        { .quality = 75, .h = 1, .v = 2, .grey = true, .progressive = true },
        { .quality = 100, .h = 1, .v = 1 },
        { .quality = 30, .h = 2, .v = 2 },
        { .quality = 3, .h = 2, .v = 2, .wide_tables = true }, /* entries over 255 */
    };
    struct arena a;
    struct err err = { 0 };
    struct image im;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    picture_of_waves(&a, 83, 61, &im);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        check_splice(&a, &im, &kinds[k], (struct image_box){ 20, 10, 41, 33 });
        check_splice(&a, &im, &kinds[k], (struct image_box){ 70, 50, 83, 61 });
        check_splice(&a, &im, &kinds[k], nothing);
    }
    arena_done(&a);
}

TEST(splice__two_changed_places_leave_what_is_between_them)
{
    struct arena a;
    struct err err = { 0 };
    struct image im, edited, got;
    struct jpeg_splice_info info;
    struct span file, spliced;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    picture_of_waves(&a, 160, 32, &im);
    file = file_of_kind(&a, &im, &(struct kind){ .quality = 90, .h = 1, .v = 1 });
    CHECK_OK(jpeg_read(&a, file, &im, NULL, &err), err);
    CHECK_OK(jpeg_read(&a, file, &edited, NULL, &err), err);
    repaint(&edited, (struct image_box){ 8, 8, 16, 16 });
    repaint(&edited, (struct image_box){ 144, 8, 152, 16 });
    CHECK_OK(jpeg_splice(&a, file, &edited, &(struct jpeg_options){ .quality = 95 }, &spliced, &info, &err), err);
    CHECK_INT(info.n_new, 6);
    CHECK(info.quality >= 89 && info.quality <= 91);
    CHECK_OK(jpeg_read(&a, spliced, &got, NULL, &err), err);
    for (size_t i = 0; i < image_bytes(&im); i++)
        if (got.pixels[i] != im.pixels[i] && (i / 3 / 160 < 8 || i / 3 / 160 >= 16 || (i / 3 % 160 >= 16 && i / 3 % 160 < 144)))
            test_fail(__FILE__, __LINE__, "byte %zu changed", i);
    arena_done(&a);
}

TEST(splice__writes_the_metadata_it_is_given_and_none_of_the_originals)
{
    static const struct exif_facts facts = { .taken = "2024:02:29 13:45:59" };
    struct jpeg_options o = { .quality = 95, .xmp = metadata_xmp(), .icc = SPAN("a profile") };
    struct arena a;
    struct err err = { 0 };
    struct image im;
    struct image_notes notes;
    struct exif_facts got;
    struct jpeg_splice_info info;
    struct span file, spliced, fast;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    picture_of_waves(&a, 60, 40, &im);
    file = file_of_kind(&a, &im, &(struct kind){ .quality = 90, .h = 2, .v = 2 });
    CHECK_OK(jpeg_read(&a, file, &im, NULL, &err), err);
    CHECK_OK(metadata_exif(&a, &(struct metadata_exif){ &facts, 60, 40, true }, &o.exif, &err), err);
    CHECK_OK(jpeg_splice(&a, file, &im, &o, &spliced, &info, &err), err);
    CHECK_INT(info.n_new, 0);
    CHECK(memmem(file.ptr, file.len, "secret", 6) != NULL);
    CHECK(memmem(spliced.ptr, spliced.len, "secret", 6) == NULL);
    CHECK(memmem(spliced.ptr, spliced.len, "compositeWithTrainedAlgorithmicMedia", 36) != NULL);
    CHECK_OK(jpeg_read(&a, spliced, &im, &notes, &err), err);
    CHECK(span_eq(notes.icc, o.icc));
    exif_read_facts(notes.exif, &got);
    CHECK_STR(got.taken, facts.taken);
    o.fast = true;
    CHECK_OK(jpeg_splice(&a, file, &im, &o, &fast, &info, &err), err);
    CHECK(fast.len > spliced.len);
    o.icc.len = (1 << 20) + 1;
    CHECK_INT(jpeg_splice(&a, file, &im, &o, &fast, &info, NULL), ERR_TOO_LARGE);
    arena_done(&a);
}

/* The file with Exif data of this orientation. */
static struct span turned(struct arena *a, struct span file, char orientation)
{
    char segment[] = "\xff\xe1\0\x22" "Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0?\0\0\0\0\0\0";
    struct err err = { 0 };
    size_t n = sizeof segment - 1;
    char *bytes = NULL;

    *(char *)memchr(segment, '?', n) = orientation;
    CHECK_OK(arena_alloc(a, file.len + n, 1, &bytes, &err), err);
    memcpy(bytes, file.ptr, 2);
    memcpy(bytes + 2, segment, n);
    memcpy(bytes + 2 + n, file.ptr + 2, file.len - 2);
    return (struct span){ bytes, file.len + n };
}

#define REFUSED(file, picture, code, words)                                                                            \
    do {                                                                                                               \
        struct err refused_ = { 0 };                                                                                   \
        CHECK_INT(jpeg_splice(&a, (file), (picture), &(struct jpeg_options){ .quality = 95 }, &ret, &info, &refused_), \
                  code);                                                                                               \
        if (!strstr(refused_.msg, words))                                                                              \
            test_fail(__FILE__, __LINE__, "\"%s\"", refused_.msg);                                                     \
    } while (0)

TEST(splice__refuses_what_cannot_be_spliced_and_says_why)
{
    struct jpeg_splice_info info;
    struct arena a;
    struct err err = { 0 };
    struct image im, small, grey, cmyk;
    struct span file, png, ret;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    picture_of_waves(&a, 60, 40, &im);
    picture_of_waves(&a, 40, 60, &small);
    picture_of_noise(&a, 60, 40, 1, 1, &grey);
    file = file_of_kind(&a, &im, &(struct kind){ .quality = 90, .h = 2, .v = 2 });
    CHECK_OK(jpeg_splice(&a, turned(&a, file, 1), &im, &(struct jpeg_options){ .quality = 95 }, &ret, &info, &err), err);
    for (char orientation = 2; orientation <= 8; orientation++)
        REFUSED(turned(&a, file, orientation), orientation < 5 ? &im : &small, ERR_UNSUPPORTED, "turned or mirrored");
    REFUSED(file, &small, ERR_UNSUPPORTED, "another size");
    REFUSED(file, &grey, ERR_UNSUPPORTED, "edited picture is grey");
    REFUSED(((struct span){ file.ptr, file.len / 2 }), &im, ERR_UNSUPPORTED, "remature end");
    REFUSED(((struct span){ file.ptr, 20 }), &im, ERR_UNSUPPORTED, "jpeg:");
    REFUSED(SPAN("\xff\xd8\xff"), &im, ERR_UNSUPPORTED, "jpeg:");
    REFUSED(((struct span){ NULL, 0 }), &im, ERR_UNSUPPORTED, "no JPEG file");
    REFUSED(file_of_kind(&a, &im, &(struct kind){ .quality = 90, .h = 1, .v = 1, .space = JCS_RGB }), &im, ERR_UNSUPPORTED, "neither in YCbCr nor grey");
    CHECK_OK(jpeg_read(&a, file_bytes(&a, golden("pictures/decode_cmyk.jpg")), &cmyk, NULL, &err), err);
    REFUSED(file_bytes(&a, golden("pictures/decode_cmyk.jpg")), &cmyk, ERR_UNSUPPORTED, "neither in YCbCr nor grey");
    REFUSED(file_bytes(&a, golden("pictures/decode_ycck.jpg")), &cmyk, ERR_UNSUPPORTED, "neither in YCbCr nor grey");
    png = file_bytes(&a, golden("pictures/decode_444.png"));
    REFUSED(png, &im, ERR_UNSUPPORTED, "no JPEG file");
    arena_done(&a);
}

/* A wrong byte anywhere, and every length: an error, or a file that can be read. */
TEST(splice__survives_damaged_files)
{
    struct jpeg_splice_info info;
    struct image_notes notes;
    struct arena a;
    struct err err = { 0 };
    struct image im, got;
    struct span file, ret;

    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    picture_of_waves(&a, 40, 24, &im);
    file = file_of_kind(&a, &im, &(struct kind){ .quality = 60, .h = 2, .v = 2 });
    for (size_t i = 0; i < 2 * file.len; i++) {
        struct arena_mark mark = arena_mark(&a);
        size_t len = i < file.len ? i : file.len;
        char *bytes = exact_copy(file.ptr, len);

        if (i >= file.len)
            bytes[i - file.len] = (char)(bytes[i - file.len] ^ 0x5a);
        if (!jpeg_splice(&a, (struct span){ bytes, len }, &im, &(struct jpeg_options){ .quality = 95 }, &ret, &info, NULL)) {
            CHECK_OK(jpeg_read(&a, ret, &got, &notes, &err), err);
            CHECK_INT(got.width, im.width);
        }
        free(bytes);
        arena_rewind(&a, mark);
    }
    arena_done(&a);
}

/* Four pixels of the picture differ from the file: by 3 and 9 outside, by 200 in a box, by 100 under a mark. */
TEST(splice__counts_the_pixels_that_differ_outside_of_the_patches)
{
    static const uint8_t marks[] = { 0, 1 };
    const struct jpeg_patch patches[] = { { { 10, 10, 14, 12 }, NULL, 0 }, { { 30, 20, 32, 21 }, marks, 2 } };
    struct jpeg_changes changes;
    struct arena a;
    struct err err = { 0 };
    struct image im;
    struct span file;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    picture_of_waves(&a, 50, 30, &im);
    CHECK_OK(jpeg_write(&a, &im, &(struct jpeg_options){ .quality = 90 }, &file, &err), err);
    CHECK_OK(jpeg_read(&a, file, &im, NULL, &err), err);
    CHECK_OK(jpeg_count_changes(&a, file, &im, NULL, 0, &changes, &err), err);
    CHECK_INT(changes.n_outside, 0);
    CHECK_INT(changes.most, 0);
    im.pixels[0] = (uint8_t)(im.pixels[0] + 3);
    im.pixels[3 * (20 * 50 + 30) + 1] = (uint8_t)(im.pixels[3 * (20 * 50 + 30) + 1] - 9); /* in the box, not marked */
    im.pixels[3 * (11 * 50 + 13)] ^= 0x80;
    im.pixels[3 * (20 * 50 + 31) + 2] ^= 0x40;
    CHECK_OK(jpeg_count_changes(&a, file, &im, patches, 2, &changes, &err), err);
    CHECK_INT(changes.n_outside, 2);
    CHECK_INT(changes.most, 9);
    CHECK_OK(jpeg_count_changes(&a, file, &im, patches, 1, &changes, &err), err);
    CHECK_INT(changes.n_outside, 3);
    CHECK_INT(changes.most, 64);
    im.height--;
    CHECK_INT(jpeg_count_changes(&a, file, &im, NULL, 0, &changes, NULL), ERR_INVALID);
    im.height++;
    CHECK_INT(jpeg_count_changes(&a, file, &im, &(struct jpeg_patch){ { 0, 0, 51, 2 }, NULL, 0 }, 1, &changes, NULL), ERR_INVALID);
    CHECK_INT(jpeg_count_changes(&a, (struct span){ file.ptr, file.len / 2 }, &im, NULL, 0, &changes, NULL), ERR_CORRUPT);
    arena_done(&a);
}
