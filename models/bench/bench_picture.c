#include "models/bench/bench_picture.h"

#include <math.h>
#include <string.h>

#include "kernels/base/crc32c.h"
#include "kernels/bench_product.h"
#include "models/fill/torch_rng.h"
#include "models/flux/latents.h"
#include "models/codec/decode.h"
#include "models/codec/jpeg.h"
#include "models/image/mask.h"
#include "models/image/orient.h"
#include "models/picture/picture.h"
#include "models/codec/png.h"
#include "models/image/resize.h"
#include "models/vae/pixels.h"

/* enum line: name, depth */
#define LINES(X)                                     \
    X(CHECK_IN, "checksums of both inputs", 0)       \
    X(READ, "read both", 0)                          \
    X(READ_PHOTO, "decode the photo", 1)             \
    X(READ_ROTATE, "rotate it upright", 1)           \
    X(READ_MASK, "decode the mask", 1)               \
    X(READ_THRESHOLD, "threshold, extent", 1)        \
    X(PLAN, "plan the crops", 0)                     \
    X(PREPARE, "crop for the model", 0)              \
    X(MODEL, "what the model does on the host", 0)   \
    X(MODEL_PIXELS, "pixels and mask as numbers", 1) \
    X(MODEL_NOISE, "noise", 1)                       \
    X(MODEL_PACK, "packing", 1)                      \
    X(MODEL_BYTES, "numbers as pixels", 1)           \
    X(PASTE, "enlarge, match, blend", 0)             \
    X(SCORE, "scores", 0)                            \
    X(ENCODE, "write both", 0)                       \
    X(ENCODE_EDITED, "encode the edited photo", 1)   \
    X(ENCODE_SHRINK, "shrink for the preview", 1)    \
    X(ENCODE_PREVIEW, "encode the preview", 1)       \
    X(CHECK_OUT, "checksums of both results", 0)

enum line {
#define X(id, name, depth) id,
    LINES(X)
#undef X
        N_LINES
};
_Static_assert((int)N_LINES <= (int)BENCH_PICTURE_LINES, "BENCH_PICTURE_LINES is enough");

enum { ICC_BYTES = 548, EXIF_BYTES = 36, QUALITY = 92, TURNED = 6 };
static const size_t arena_bytes = (size_t)4 << 30; /* address space */

struct rig {
    const struct bench_picture_options *o;
    struct bench_picture *b;
    struct arena *a;
    struct span original, mask; /* files */
};

/* --- a photo and a mask --- */

static uint32_t hash(uint32_t x, uint32_t y)
{
    uint32_t h = x * 374761393u + y * 668265263u;

    h = (h ^ h >> 13) * 1274126177u;
    return h ^ h >> 16;
}

/* Slopes, ripples of two sizes, and only a little grain, as after a phone's noise reduction. */
static void draw_photo(const struct image *im)
{
#pragma omp parallel for schedule(static)
    for (int y = 0; y < im->height; y++)
        for (int x = 0; x < im->width; x++) {
            uint8_t *p = im->pixels + 3 * ((size_t)y * (size_t)im->width + (size_t)x);
            float ripple = sinf(0.011f * (float)x + 0.017f * (float)y) +
                           sinf(0.23f * (float)x - 0.19f * (float)y) * (hash(x / 64, y / 64) % 3 == 0);

            for (int c = 0; c < 3; c++)
                p[c] = (uint8_t)(100 + (int)(30.0f * ripple) + 40 * (((x >> 9) + c) & 1) + (int)(hash(x, y) >> 28) - 8);
        }
}

static void draw_mask(const struct image *im)
{
    double rx = 0.178 * im->width, ry = 0.178 * im->height;

    for (int y = 0; y < im->height; y++)
        for (int x = 0; x < im->width; x++) {
            double dx = (x - 0.6 * im->width) / rx, dy = (y - 0.55 * im->height) / ry;

            im->pixels[(size_t)y * (size_t)im->width + (size_t)x] = dx * dx + dy * dy < 1 ? 255 : 0;
        }
}

/* Inserts an Exif segment with an orientation right after the marker that starts the file. */
static enum err_code add_orientation(struct arena *a, struct span *file, struct err *err)
{
    static const char exif[EXIF_BYTES + 1] = "\xff\xe1\0\x22"
                                             "Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0";
    char *bytes = NULL;

    TRY(arena_alloc(a, file->len + EXIF_BYTES, 1, &bytes, err));
    memcpy(bytes, file->ptr, 2);
    memcpy(bytes + 2, exif, EXIF_BYTES);
    memcpy(bytes + 2 + EXIF_BYTES, file->ptr + 2, file->len - 2);
    *file = (struct span){ bytes, file->len + EXIF_BYTES };
    return ERR_OK;
}

static enum err_code make_files(struct rig *r, struct err *err)
{
    static const char icc[ICC_BYTES] = {
        [2] = ICC_BYTES >> 8, [3] = ICC_BYTES & 255, [16] = 'R', 'G', 'B', ' ', [36] = 'a', 'c', 's', 'p'
    };
    const struct jpeg_options camera = { .quality = QUALITY, .chroma = JPEG_CHROMA_HALF, .icc = { icc, sizeof icc } };
    int width = r->o->width, height = r->o->height;
    struct image photo, mask;

    TRY(image_new(r->a, width, height, 3, &photo, err));
    TRY(image_new(r->a, r->o->turned ? height : width, r->o->turned ? width : height, 1, &mask, err));
    draw_photo(&photo);
    draw_mask(&mask);
    TRY(jpeg_write(r->a, &photo, &camera, &r->original, err));
    if (r->o->turned)
        TRY(add_orientation(r->a, &r->original, err));
    return png_write(r->a, &mask, &r->mask, err);
}

/* --- the clock --- */

/* Ends the line that began at `since`; returns the current time, at which the next line begins. */
static double lap(struct rig *r, enum line line, double since)
{
    double now = bench_clock(), *best = &r->b->lines[line].seconds;

    if (*best == 0 || now - since < *best)
        *best = now - since;
    return now;
}

/* --- an edit, and its parts --- */

/* What fill.c does around the networks; the picture itself takes the place of what they would paint. */
static enum err_code model_on_host(struct rig *r, const struct picture_model_input *in, struct image *ret_painted,
                                   struct err *err)
{
    int64_t width = in->picture.width, height = in->picture.height, n = width * height * 3;
    int64_t h = height / VAE_SCALE, w = width / VAE_SCALE, n_latents = h * w * VAE_LATENT;
    double begin = bench_clock();
    struct torch_rng rng;
    struct image picture, resized;
    float *rgb, *noise, *z, *packed;
    uint8_t *mask;

    TRY(image_new(r->a, (int)width, (int)height, 3, ret_painted, err));
    TRY(arena_alloc(r->a, (size_t)n, sizeof *rgb, &rgb, err));
    TRY(arena_alloc(r->a, (size_t)n_latents, sizeof *noise, &noise, err));
    TRY(arena_alloc(r->a, (size_t)n_latents, sizeof *z, &z, err));
    TRY(arena_alloc(r->a, (size_t)n, sizeof *packed, &packed, err));
    TRY(arena_alloc(r->a, (size_t)(width * height), 1, &mask, err));
    TRY(image_resize(r->a, &in->picture, (int)width, (int)height, &picture, err));
    pixels_to_vae(&picture, rgb);
    TRY(image_resize(r->a, &in->mask, (int)width, (int)height, &resized, err));
    latents_binarise_mask(&resized, mask);
    begin = lap(r, MODEL_PIXELS, begin);
    torch_rng_seed(&rng, 1);
    torch_rng_normals(&rng, noise, (size_t)n_latents);
    begin = lap(r, MODEL_NOISE, begin);
    latents_from_chw(noise, h, w, z);
    latents_pack(z, h, w, packed, LATENT_TOKEN);
    latents_scale(z, n_latents);
    latents_pack(z, h, w, packed, LATENT_TOKEN);
    latents_unpack(packed, LATENT_TOKEN, h, w, z);
    latents_unscale(z, n_latents);
    latents_pack_mask(mask, h / 2, w / 2, packed, MASK_TOKEN);
    begin = lap(r, MODEL_PACK, begin);
    pixels_from_vae(rgb, n);
    pixels_to_bytes(rgb, n, ret_painted->pixels);
    (void)lap(r, MODEL_BYTES, begin);
    return ERR_OK;
}

static enum err_code run_parts(struct rig *r, struct err *err)
{
    const struct jpeg_options as_edited = { .quality = EDITED_QUALITY, .chroma = JPEG_CHROMA_FULL };
    const struct jpeg_options as_preview = { .quality = PREVIEW_QUALITY, .chroma = JPEG_CHROMA_HALF };
    struct image stored, photo, mask, small;
    struct image_notes notes;
    struct span file;
    double begin = bench_clock(), shrink;

    TRY(image_decode(r->a, r->original, &(struct decode_options){ .alpha = IMAGE_ALPHA_ON_WHITE }, &stored, &notes,
                     err));
    begin = lap(r, READ_PHOTO, begin);
    TRY(image_orient(r->a, &stored, notes.orientation, &photo, err));
    begin = lap(r, READ_ROTATE, begin);
    TRY(image_decode(r->a, r->mask, &(struct decode_options){ .alpha = IMAGE_ALPHA_ON_BLACK }, &stored, &notes, err));
    begin = lap(r, READ_MASK, begin);
    TRY(mask_from_image(r->a, &stored, &mask, err));
    (void)mask_extent(&mask);
    begin = lap(r, READ_THRESHOLD, begin);
    TRY(jpeg_write(r->a, &photo, &as_edited, &file, err));
    begin = lap(r, ENCODE_EDITED, begin);
    shrink = (double)PREVIEW_LONG_SIDE / (photo.width > photo.height ? photo.width : photo.height);
    TRY(image_resize(r->a, &photo, (int)lround(photo.width * shrink), (int)lround(photo.height * shrink), &small, err));
    begin = lap(r, ENCODE_SHRINK, begin);
    TRY(jpeg_write(r->a, &small, &as_preview, &file, err));
    (void)lap(r, ENCODE_PREVIEW, begin);
    return ERR_OK;
}

/* Cuts out, "paints" and pastes one crop. */
static enum err_code run_crop(struct rig *r, struct picture_input *in, struct picture_record *record, int crop,
                              struct err *err)
{
    ARENA_SCRATCH(r->a);
    struct picture_model_input model;
    struct image_f32 exact;
    struct image painted;
    double begin = bench_clock();

    TRY(picture_prepare(r->a, in, record, crop, &model, err));
    begin = lap(r, PREPARE, begin);
    TRY(model_on_host(r, &model, &painted, err));
    TRY(image_f32_from(r->a, &painted, &exact, err));
    begin = lap(r, MODEL, begin);
    TRY(picture_paste(r->a, in, &model, &exact, &r->o->settings, record, crop, err));
    begin = lap(r, PASTE, begin);
    TRY(picture_score(r->a, in, &model, record, crop, err));
    (void)lap(r, SCORE, begin);
    return ERR_OK;
}

static enum err_code run_edit(struct rig *r, struct err *err)
{
    struct bench_picture *b = r->b;
    struct picture_record record = { 0 };
    struct picture_input in;
    struct picture_files files;
    double start = bench_clock(), begin = start, whole;
    uint32_t crc = crc32c(0, r->original.ptr, r->original.len);

    b->checksum = crc32c(crc, r->mask.ptr, r->mask.len);
    begin = lap(r, CHECK_IN, begin);
    TRY(picture_read(r->a, &(struct picture_source){ r->original, r->mask, { 0 } }, &r->o->settings, &in, &record,
                     err));
    begin = lap(r, READ, begin);
    TRY(picture_plan(r->a, &in, &r->o->settings, &record, err));
    (void)lap(r, PLAN, begin);
    for (int i = 0; i < record.plan.n; i++)
        TRY(run_crop(r, &in, &record, i, err));
    begin = bench_clock();
    TRY(picture_encode(r->a, &in, &r->o->settings, &record, &files, err));
    begin = lap(r, ENCODE, begin);
    crc = crc32c(0, files.edited.ptr, files.edited.len);
    b->checksum = crc32c(crc, files.preview.ptr, files.preview.len);
    whole = lap(r, CHECK_OUT, begin) - start;
    if (b->whole == 0 || whole < b->whole)
        b->whole = whole;
    b->edited_bytes = files.edited.len;
    b->preview_bytes = files.preview.len;
    b->plan = record.plan;
    return ERR_OK;
}

/* A whole edit, and the memory that it takes from the arena. */
static enum err_code measure_edit(struct rig *r, struct err *err)
{
    ARENA_SCRATCH(r->a);
    size_t before = r->a->used;

    r->a->peak = before;
    TRY(run_edit(r, err));
    r->b->arena_bytes = r->a->peak - before;
    return ERR_OK;
}

static enum err_code measure_parts(struct rig *r, struct err *err)
{
    ARENA_SCRATCH(r->a);

    return run_parts(r, err);
}

static enum err_code run(struct rig *r, struct err *err)
{
    TRY(make_files(r, err));
    r->b->original_bytes = r->original.len;
    r->b->mask_bytes = r->mask.len;
    for (int i = 0; i < r->o->repeats; i++) {
        TRY(measure_edit(r, err));
        TRY(measure_parts(r, err));
    }
    return ERR_OK;
}

enum err_code bench_picture(const struct bench_picture_options *o, struct bench_picture *ret, struct err *err)
{
    static const struct bench_picture empty = {
        .lines = {
#define X(id, name, depth) [id] = { name, depth, 0 },
            LINES(X)
#undef X
        },
        .n_lines = N_LINES,
    };
    struct bench_picture b = empty;
    struct arena a;
    struct rig r = { .o = o, .b = &b, .a = &a };
    enum err_code rc;

    TRY(arena_init(&a, arena_bytes, err));
    rc = run(&r, err);
    if (rc == ERR_OK)
        *ret = b;
    arena_done(&a);
    return rc;
}
