#include "models/codec/jpeg_splice.h"

#include <string.h>

#include "kernels/base/processor.h"
#include "models/codec/jpeg_notes.h"
#include "models/codec/jpeg_output.h"

enum {
    DECODER_MAX_BYTES = 1 << 30, /* the coefficients of a picture of 4:4:4 of 170 million pixels */
    CELL = 8,                    /* pixels; blocks cover 8 x 8 pixels, or a multiple of that */
    QUANTISER_MAX = 4095         /* libjpeg's forward DCT divides by the low 16 bits of 8 times an entry */
};

/* Everything that is used after a longjmp() is in here, not in locals. */
struct splice {
    struct jpeg_guard guard;
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct old; /* the original's coefficients */
    struct jpeg_decompress_struct now; /* the original's pixels */
    struct jpeg_compress_struct out;
    struct jpeg_sink sink;
    jvirt_barray_ptr *blocks; /* of `old`, which become those of `out` */

    /* a part of the edited picture, as large as a row of MCUs at most, is encoded by itself and read again */
    struct jpeg_compress_struct part_out;
    struct jpeg_decompress_struct part_in;
    struct jpeg_sink part_sink;

    struct span original;
    const struct image *edited;
    const struct jpeg_options *options;
    uint8_t *rows;  /* one row of MCUs of the original */
    uint8_t *cells; /* [cell_rows, cells_across], 1 where a pixel has changed, for that row of MCUs */
    int cell_rows, cells_across;
    struct jpeg_splice_info info;
};

static void refuse(struct splice *s, const char *why)
{
    jpeg_guard_leave(&s->guard, err_set(s->guard.err, ERR_UNSUPPORTED, "splice: %s", why));
}

static void count_scans(j_common_ptr c)
{
    struct splice *s = c->client_data;

    if (s->old.input_scan_number > JPEG_MAX_SCANS)
        refuse(s, "the photo has too many scans");
}

static void open_original(struct splice *s, struct jpeg_decompress_struct *c)
{
    jpeg_create_decompress(c);
    c->mem->max_memory_to_use = DECODER_MAX_BYTES;
    jpeg_mem_src(c, (const unsigned char *)s->original.ptr, s->original.len);
    (void)jpeg_read_header(c, TRUE);
}

static void check_sampling(struct splice *s)
{
    const struct jpeg_decompress_struct *c = &s->old;

    for (int i = 0; i < c->num_components; i++)
        if (c->max_h_samp_factor % c->comp_info[i].h_samp_factor ||
            c->max_v_samp_factor % c->comp_info[i].v_samp_factor)
            refuse(s, "the photo's sampling is not in whole steps");
}

static void check_kind(struct splice *s)
{
    const struct jpeg_decompress_struct *c = &s->old;

    if (c->data_precision != 8)
        refuse(s, "the photo does not have 8 bits a sample");
    if (c->jpeg_color_space != JCS_YCbCr && c->jpeg_color_space != JCS_GRAYSCALE)
        refuse(s, "the photo is neither in YCbCr nor grey");
    if (c->jpeg_color_space == JCS_YCbCr && s->edited->channels != 3)
        refuse(s, "the edited picture is grey, the photo is not");
    if ((int64_t)c->image_width != s->edited->width || (int64_t)c->image_height != s->edited->height)
        refuse(s, "the edited picture has another size than the photo");
    check_sampling(s);
}

static void read_coefficients(struct splice *s)
{
    open_original(s, &s->old);
    s->old.client_data = s;
    s->progress.progress_monitor = count_scans;
    s->old.progress = &s->progress;
    check_kind(s);
    s->blocks = jpeg_read_coefficients(&s->old);
}

static void start_pixels(struct splice *s)
{
    open_original(s, &s->now);
    s->now.out_color_space = s->edited->channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
    s->now.dct_method = JDCT_ISLOW; /* as in jpeg.c: pixels that were not changed are the same */
    s->now.do_fancy_upsampling = TRUE;
    (void)jpeg_start_decompress(&s->now);
}

static size_t row_bytes(const struct splice *s)
{
    return (size_t)s->edited->width * (size_t)s->edited->channels;
}

static enum err_code take_memory(struct splice *s, struct arena *a)
{
    s->cell_rows = s->old.max_v_samp_factor;
    s->cells_across = (s->edited->width + CELL - 1) / CELL;
    TRY(arena_alloc(a, (size_t)s->cell_rows * CELL, row_bytes(s), &s->rows, s->guard.err));
    return arena_alloc(a, (size_t)s->cell_rows, (size_t)s->cells_across, &s->cells, s->guard.err);
}

/* Marks the cells in which two rows differ. */
static void mark_cells(const uint8_t *was, const uint8_t *is, size_t bytes, int channels, uint8_t *cells)
{
    size_t cell_bytes = (size_t)CELL * (size_t)channels;

    if (memcmp(was, is, bytes) == 0)
        return;
    for (size_t at = 0; at < bytes; at += cell_bytes) {
        size_t n = bytes - at < cell_bytes ? bytes - at : cell_bytes;

        cells[at / cell_bytes] |= memcmp(was + at, is + at, n) != 0;
    }
}

/* Reads one row of MCUs and finds what has changed in it. false: nothing. */
static bool find_changes(struct splice *s, int top, int height)
{
    const uint8_t *is = s->edited->pixels + (size_t)top * row_bytes(s);
    size_t n_cells = (size_t)s->cell_rows * (size_t)s->cells_across;

    memset(s->cells, 0, n_cells);
    for (int y = 0; y < height; y++) {
        JSAMPROW row = s->rows + (size_t)y * row_bytes(s);

        if (jpeg_read_scanlines(&s->now, &row, 1) != 1)
            refuse(s, "a row of the photo is missing");
        mark_cells(row, is + (size_t)y * row_bytes(s), row_bytes(s), s->edited->channels,
                   s->cells + (size_t)(y / CELL) * (size_t)s->cells_across);
    }
    return memchr(s->cells, 1, n_cells) != NULL;
}

/* Columns of MCUs from `first` to `end` - 1. */
struct columns {
    int first, end;
};

static struct columns changed_columns(const struct splice *s)
{
    struct columns c = { s->cells_across, 0 };
    int step = s->old.max_h_samp_factor;

    for (int i = 0; i < s->cell_rows * s->cells_across; i++) {
        int x = i % s->cells_across / step;

        if (!s->cells[i])
            continue;
        c.first = x < c.first ? x : c.first;
        c.end = x + 1 > c.end ? x + 1 : c.end;
    }
    return c;
}

static void copy_table(struct splice *s, int component)
{
    const jpeg_component_info *from = &s->old.comp_info[component];
    const JQUANT_TBL *table = from->quant_table ? from->quant_table : s->old.quant_tbl_ptrs[from->quant_tbl_no];
    JQUANT_TBL **to = &s->part_out.quant_tbl_ptrs[component];

    if (!table)
        refuse(s, "the photo lacks a quantisation table");
    for (int i = 0; i < DCTSIZE2; i++)
        if (table->quantval[i] < 1 || table->quantval[i] > QUANTISER_MAX)
            refuse(s, "the photo has a quantisation table with a 0 or a very large entry");
    if (!*to)
        *to = jpeg_alloc_quant_table((j_common_ptr)&s->part_out);
    memcpy((*to)->quantval, table->quantval, sizeof table->quantval);
    (*to)->sent_table = FALSE;
}

/* The original's tables and sampling. */
static void set_part_parameters(struct splice *s, int width, int height)
{
    struct jpeg_compress_struct *c = &s->part_out;

    c->image_width = (JDIMENSION)width;
    c->image_height = (JDIMENSION)height;
    c->input_components = s->edited->channels;
    c->in_color_space = s->edited->channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_set_defaults(c);
    jpeg_set_colorspace(c, s->old.jpeg_color_space);
    c->dct_method = JDCT_ISLOW;
    for (int i = 0; i < s->old.num_components; i++) {
        c->comp_info[i].h_samp_factor = s->old.comp_info[i].h_samp_factor;
        c->comp_info[i].v_samp_factor = s->old.comp_info[i].v_samp_factor;
        c->comp_info[i].quant_tbl_no = i;
        copy_table(s, i);
    }
}

static jvirt_barray_ptr *encode_part(struct splice *s, int left, int top, int width, int height)
{
    uint8_t *from = s->edited->pixels + (size_t)top * row_bytes(s) + (size_t)left * (size_t)s->edited->channels;

    jpeg_sink_start(&s->part_sink, &s->guard, &s->part_out);
    set_part_parameters(s, width, height);
    jpeg_start_compress(&s->part_out, TRUE);
    for (int y = 0; y < height; y++) {
        JSAMPROW row = from + (size_t)y * row_bytes(s);
        (void)jpeg_write_scanlines(&s->part_out, &row, 1);
    }
    jpeg_finish_compress(&s->part_out);
    jpeg_mem_src(&s->part_in, s->part_sink.bytes, s->part_sink.len);
    (void)jpeg_read_header(&s->part_in, TRUE);
    return jpeg_read_coefficients(&s->part_in);
}

/* Whether any of the cells that a block covers has changed; `y` counts blocks from the row of MCUs on. */
static bool block_changed(const struct splice *s, const jpeg_component_info *component, int x, int y)
{
    int across = s->old.max_h_samp_factor / component->h_samp_factor;
    int down = s->old.max_v_samp_factor / component->v_samp_factor;

    for (int cell_y = y * down; cell_y < (y + 1) * down; cell_y++)
        for (int cell_x = x * across; cell_x < (x + 1) * across && cell_x < s->cells_across; cell_x++)
            if (s->cells[cell_y * s->cells_across + cell_x])
                return true;
    return false;
}

/* Takes the changed blocks of one component in one row of MCUs; `blocks` are those of the part. */
static void take_blocks(struct splice *s, int i, int mcu_row, struct columns columns, jvirt_barray_ptr blocks)
{
    const jpeg_component_info *component = &s->old.comp_info[i];
    int first = columns.first * component->h_samp_factor, end = columns.end * component->h_samp_factor;

    end = end < (int)component->width_in_blocks ? end : (int)component->width_in_blocks;
    for (int y = 0; y < component->v_samp_factor; y++) {
        int row = mcu_row * component->v_samp_factor + y;
        JBLOCKROW from, to;

        if (row >= (int)component->height_in_blocks)
            return;
        from = *s->part_in.mem->access_virt_barray((j_common_ptr)&s->part_in, blocks, (JDIMENSION)y, 1, FALSE);
        to = *s->old.mem->access_virt_barray((j_common_ptr)&s->old, s->blocks[i], (JDIMENSION)row, 1, TRUE);
        for (int x = first; x < end; x++)
            if (block_changed(s, component, x, y)) {
                memcpy(to[x], from[x - first], sizeof to[x]);
                s->info.n_new++;
            }
    }
}

static void take_changes(struct splice *s, int mcu_row, int top, int height)
{
    struct columns columns = changed_columns(s);
    int mcu_width = s->old.max_h_samp_factor * CELL, left = columns.first * mcu_width, right = columns.end * mcu_width;
    jvirt_barray_ptr *blocks;

    right = right < s->edited->width ? right : s->edited->width;
    blocks = encode_part(s, left, top, right - left, height);
    for (int i = 0; i < s->old.num_components; i++)
        take_blocks(s, i, mcu_row, columns, blocks[i]);
    jpeg_abort_decompress(&s->part_in);
}

static void exchange_blocks(struct splice *s)
{
    int mcu_height = s->cell_rows * CELL;

    jpeg_create_compress(&s->part_out);
    jpeg_create_decompress(&s->part_in);
    for (int top = 0; top < s->edited->height; top += mcu_height) {
        int height = s->edited->height - top < mcu_height ? s->edited->height - top : mcu_height;

        if (find_changes(s, top, height))
            take_changes(s, top / mcu_height, top, height);
    }
    for (int i = 0; i < s->old.num_components; i++)
        s->info.n_blocks += (int64_t)s->old.comp_info[i].width_in_blocks * s->old.comp_info[i].height_in_blocks;
}

/* libjpeg's quality whose luminance table has the sum of this one. At 50 the sum is that of ITU-T T.81 table K.1. */
static int quality_of(const struct jpeg_decompress_struct *c)
{
    enum { SUM_AT_50 = 3688 };
    const JQUANT_TBL *table = c->comp_info[0].quant_table;
    double sum = 0, scale, quality;

    for (int i = 0; table && i < DCTSIZE2; i++)
        sum += table->quantval[i];
    scale = 100 * sum / SUM_AT_50;
    quality = scale <= 100 ? 100 - scale / 2 : 5000 / scale;
    return quality < 1 ? 1 : (int)(quality + 0.5);
}

static void write_out(struct splice *s)
{
    jpeg_create_compress(&s->out);
    jpeg_sink_start(&s->sink, &s->guard, &s->out);
    jpeg_copy_critical_parameters(&s->old, &s->out);
    s->out.optimize_coding = s->options->fast ? FALSE : TRUE;
    jpeg_write_coefficients(&s->out, s->blocks);
    jpeg_write_metadata(&s->out, s->options);
    jpeg_finish_compress(&s->out);
}

static enum err_code splice_guarded(struct splice *s, struct arena *a)
{
    enum err_code rc;

    if (setjmp(s->guard.jump))
        return s->guard.rc;
    read_coefficients(s);
    rc = take_memory(s, a);
    if (rc)
        jpeg_guard_leave(&s->guard, rc);
    start_pixels(s);
    s->info.quality = quality_of(&s->old);
    exchange_blocks(s);
    write_out(s);
    return ERR_OK;
}

static enum err_code splice(struct splice *s, struct arena *a)
{
    ARENA_SCRATCH(a);
    struct image_notes notes;

    TRY(jpeg_notes(a, s->original, &notes, s->guard.err));
    if (notes.orientation != 1)
        return err_set(s->guard.err, ERR_UNSUPPORTED,
                       "splice: the photo is stored turned or mirrored (Exif orientation %d)", notes.orientation);
    return splice_guarded(s, a);
}

static void done(struct splice *s)
{
    jpeg_destroy_compress(&s->out);
    jpeg_destroy_compress(&s->part_out);
    jpeg_destroy_decompress(&s->part_in);
    jpeg_destroy_decompress(&s->now);
    jpeg_destroy_decompress(&s->old);
    jpeg_sink_done(&s->part_sink);
    jpeg_sink_done(&s->sink);
}

enum err_code jpeg_splice(struct arena *a, struct span original, const struct image *edited,
                          const struct jpeg_options *options, struct span *ret_file, struct jpeg_splice_info *ret_info,
                          struct err *err)
{
    struct splice s = { .original = original, .edited = edited, .options = options };
    char *copy = NULL;
    enum err_code rc;

    TRY(jpeg_check_metadata(options, err));
    if (!span_starts(original, "\xff\xd8\xff"))
        return err_set(err, ERR_UNSUPPORTED, "splice: the photo is no JPEG file");
    s.old.err = s.now.err = s.part_in.err = s.out.err = s.part_out.err =
        jpeg_guard_init(&s.guard, ERR_UNSUPPORTED, err);
    rc = splice(&s, a);
    if (!rc)
        rc = span_dup(a, (struct span){ (const char *)s.sink.bytes, s.sink.len }, &copy, err);
    if (!rc) {
        *ret_file = (struct span){ copy, s.sink.len };
        *ret_info = s.info;
    }
    done(&s);
    return rc;
}

struct comparison {
    struct jpeg_guard guard;
    struct jpeg_decompress_struct c;
    struct span file;
    const struct image *want;
    const struct jpeg_patch *patches;
    int n_patches;
    uint8_t *row;     /* of the file */
    uint8_t *ignored; /* [width], 0xff where that row was meant to change */
    struct jpeg_changes changes;
};

static void ignore_patches(struct comparison *k, int y)
{
    memset(k->ignored, 0, (size_t)k->want->width);
    for (int i = 0; i < k->n_patches; i++) {
        const struct jpeg_patch *p = &k->patches[i];

        if (y < p->box.top || y >= p->box.bottom)
            continue;
        for (int x = p->box.left; x < p->box.right; x++)
            if (!p->changed || p->changed[(size_t)(y - p->box.top) * p->stride + (size_t)(x - p->box.left)])
                k->ignored[x] = 0xff;
    }
}

/* Pixels of a row that differ and are not ignored; *most grows to the largest difference. */
EVERY_PROCESSOR static int count_row(const uint8_t *a, const uint8_t *b, const uint8_t *ignored, int width, int *most)
{
    uint8_t largest = 0;
    int n = 0;

    for (int x = 0; x < width; x++) {
        uint8_t d = 0;

        for (int c = 0; c < 3; c++) {
            uint8_t p = a[3 * x + c], q = b[3 * x + c], e = p > q ? (uint8_t)(p - q) : (uint8_t)(q - p);

            d = d > e ? d : e;
        }
        d &= (uint8_t)~ignored[x];
        largest = largest > d ? largest : d;
        n += d != 0;
    }
    *most = *most > largest ? *most : largest;
    return n;
}

static void compare_rows(struct comparison *k)
{
    size_t bytes = (size_t)k->want->width * 3;

    while (k->c.output_scanline < k->c.output_height) {
        int y = (int)k->c.output_scanline;
        const uint8_t *want = k->want->pixels + (size_t)y * bytes;

        if (jpeg_read_scanlines(&k->c, &k->row, 1) != 1)
            jpeg_guard_leave(&k->guard, err_set(k->guard.err, ERR_CORRUPT, "jpeg: row %d is missing", y));
        if (memcmp(want, k->row, bytes) == 0)
            continue;
        ignore_patches(k, y);
        k->changes.n_outside += count_row(want, k->row, k->ignored, k->want->width, &k->changes.most);
    }
}

static enum err_code compare_guarded(struct comparison *k)
{
    if (setjmp(k->guard.jump))
        return k->guard.rc;
    jpeg_create_decompress(&k->c);
    jpeg_mem_src(&k->c, (const unsigned char *)k->file.ptr, k->file.len);
    (void)jpeg_read_header(&k->c, TRUE);
    if ((int64_t)k->c.image_width != k->want->width || (int64_t)k->c.image_height != k->want->height)
        jpeg_guard_leave(&k->guard, err_set(k->guard.err, ERR_INVALID,
                                            "jpeg: a file of %u x %u pixels is compared with a picture of %d x %d",
                                            k->c.image_width, k->c.image_height, k->want->width, k->want->height));
    k->c.out_color_space = JCS_RGB;
    k->c.dct_method = JDCT_ISLOW;
    k->c.do_fancy_upsampling = TRUE;
    (void)jpeg_start_decompress(&k->c);
    compare_rows(k);
    return ERR_OK;
}

static enum err_code check_patches(const struct comparison *k)
{
    for (int i = 0; i < k->n_patches; i++) {
        struct image_box b = k->patches[i].box;

        if (b.left < 0 || b.top < 0 || b.right > k->want->width || b.bottom > k->want->height)
            return err_set(k->guard.err, ERR_INVALID, "jpeg: patch %d is not within the picture of %d x %d pixels", i,
                           k->want->width, k->want->height);
    }
    return ERR_OK;
}

enum err_code jpeg_count_changes(struct arena *a, struct span file, const struct image *want,
                                 const struct jpeg_patch *patches, int n_patches, struct jpeg_changes *ret,
                                 struct err *err)
{
    ARENA_SCRATCH(a);
    struct comparison k = { .file = file, .want = want, .patches = patches, .n_patches = n_patches };
    enum err_code rc;

    k.c.err = jpeg_guard_init(&k.guard, ERR_CORRUPT, err);
    if (want->channels != 3)
        return err_set(err, ERR_INVALID, "jpeg: a file is compared with a picture of %d channels; 3 are needed",
                       want->channels);
    TRY(check_patches(&k));
    TRY(arena_alloc(a, (size_t)want->width, 3, &k.row, err));
    TRY(arena_alloc(a, (size_t)want->width, 1, &k.ignored, err));
    rc = compare_guarded(&k);
    jpeg_destroy_decompress(&k.c);
    if (!rc)
        *ret = k.changes;
    return rc;
}
