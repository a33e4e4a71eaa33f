#include "models/codec/jpeg_output.h"

#include <stdlib.h>
#include <string.h>

#include <jerror.h>

#include "models/notes/icc.h"

enum {
    SEGMENT_BYTES = 65533,
    ICC_PART_BYTES = SEGMENT_BYTES - 14, /* what fits into one APP2 segment after its tag */
    APP1 = JPEG_APP0 + 1,
    APP2 = JPEG_APP0 + 2,
    SINK_BYTES = 64 << 10, /* at first */
    PADDING_MAX_BYTES = 8  /* before a restart marker; some cameras write a few, more are data in disorder */
};

static const int harmless[] = { JWRN_ADOBE_XFORM, JWRN_JFIF_MAJOR, JWRN_TOO_MUCH_DATA, JWRN_NOT_SEQUENTIAL };

bool jpeg_warning_is_harmless(const struct jpeg_error_mgr *m)
{
    bool before_restart = m->msg_parm.i[1] >= JPEG_RST0 && m->msg_parm.i[1] < JPEG_RST0 + 8;

    if (m->msg_code == JWRN_EXTRANEOUS_DATA)
        return !before_restart || m->msg_parm.i[0] <= PADDING_MAX_BYTES;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (m->msg_code == harmless[i])
            return true;
    return false;
}

void jpeg_guard_leave_saying(j_common_ptr c, enum err_code code)
{
    struct jpeg_guard *g = (struct jpeg_guard *)c->err;
    char text[JMSG_LENGTH_MAX];

    c->err->format_message(c, text);
    jpeg_guard_leave(g, err_set(g->err, code, "jpeg: %s", text));
}

static void failed(j_common_ptr c)
{
    const struct jpeg_guard *g = (const struct jpeg_guard *)c->err;

    jpeg_guard_leave_saying(c, c->err->msg_code == JERR_OUT_OF_MEMORY ? ERR_NOMEM : g->code);
}

static void message(j_common_ptr c, int level)
{
    const struct jpeg_guard *g = (const struct jpeg_guard *)c->err;

    if (level < 0 && !jpeg_warning_is_harmless(c->err))
        jpeg_guard_leave_saying(c, g->code);
}

static void print_nothing(j_common_ptr c)
{
    (void)c;
}

struct jpeg_error_mgr *jpeg_guard_init(struct jpeg_guard *g, enum err_code code, struct err *err)
{
    (void)jpeg_std_error(&g->mgr);
    g->mgr.error_exit = failed;
    g->mgr.emit_message = message;
    g->mgr.output_message = print_nothing;
    g->err = err;
    g->rc = ERR_OK;
    g->code = code;
    return &g->mgr;
}

void jpeg_guard_leave(struct jpeg_guard *g, enum err_code rc)
{
    g->rc = rc;
    longjmp(g->jump, 1);
}

static void sink_grow(struct jpeg_sink *s, size_t room)
{
    unsigned char *more = room > s->room ? realloc(s->bytes, room) : NULL;

    if (!more)
        jpeg_guard_leave(s->guard, err_set(s->guard->err, ERR_NOMEM, "jpeg: no memory for a file of %zu bytes", room));
    s->bytes = more;
    s->room = room;
}

static void sink_init(j_compress_ptr c)
{
    struct jpeg_sink *s = (struct jpeg_sink *)c->dest;

    if (!s->room)
        sink_grow(s, SINK_BYTES);
    s->mgr.next_output_byte = s->bytes;
    s->mgr.free_in_buffer = s->room;
}

/* Called when all of the memory is in use, whatever free_in_buffer says. */
static boolean sink_full(j_compress_ptr c)
{
    struct jpeg_sink *s = (struct jpeg_sink *)c->dest;
    size_t used = s->room;

    sink_grow(s, 2 * used);
    s->mgr.next_output_byte = s->bytes + used;
    s->mgr.free_in_buffer = s->room - used;
    return TRUE;
}

static void sink_end(j_compress_ptr c)
{
    struct jpeg_sink *s = (struct jpeg_sink *)c->dest;

    s->len = s->room - s->mgr.free_in_buffer;
}

void jpeg_sink_start(struct jpeg_sink *s, struct jpeg_guard *g, j_compress_ptr c)
{
    s->mgr = (struct jpeg_destination_mgr){ .init_destination = sink_init,
                                            .empty_output_buffer = sink_full,
                                            .term_destination = sink_end };
    s->guard = g;
    s->len = 0;
    c->dest = &s->mgr;
}

void jpeg_sink_done(struct jpeg_sink *s)
{
    free(s->bytes);
    *s = (struct jpeg_sink){ .bytes = NULL };
}

static void write_segment(j_compress_ptr c, int marker, struct span tag, struct span part)
{
    jpeg_write_m_header(c, marker, (unsigned)(tag.len + part.len));
    for (size_t i = 0; i < tag.len; i++)
        jpeg_write_m_byte(c, (unsigned char)tag.ptr[i]);
    for (size_t i = 0; i < part.len; i++)
        jpeg_write_m_byte(c, (unsigned char)part.ptr[i]);
}

static void write_icc(j_compress_ptr c, struct span rest)
{
    unsigned total = (unsigned)((rest.len + ICC_PART_BYTES - 1) / ICC_PART_BYTES);

    for (unsigned number = 1; number <= total; number++) {
        size_t n = rest.len < ICC_PART_BYTES ? rest.len : ICC_PART_BYTES;
        const char tag[14] = { 'I', 'C', 'C', '_', 'P', 'R', 'O', 'F', 'I', 'L', 'E', 0, (char)number, (char)total };

        write_segment(c, APP2, (struct span){ tag, sizeof tag }, (struct span){ rest.ptr, n });
        rest = (struct span){ rest.ptr + n, rest.len - n };
    }
}

static const struct span exif_tag = { "Exif\0", 6 };
static const struct span xmp_tag = { "http://ns.adobe.com/xap/1.0/", 29 };

void jpeg_write_metadata(j_compress_ptr c, const struct jpeg_options *options)
{
    if (options->exif.len)
        write_segment(c, APP1, exif_tag, options->exif);
    if (options->xmp.len)
        write_segment(c, APP1, xmp_tag, options->xmp);
    write_icc(c, options->icc);
}

enum err_code jpeg_check_metadata(const struct jpeg_options *options, struct err *err)
{
    if (options->icc.len > ICC_MAX_BYTES)
        return err_set(err, ERR_TOO_LARGE, "jpeg: a colour profile of %zu bytes; at most %d are supported",
                       options->icc.len, ICC_MAX_BYTES);
    if (options->exif.len > SEGMENT_BYTES - exif_tag.len || options->xmp.len > SEGMENT_BYTES - xmp_tag.len)
        return err_set(err, ERR_TOO_LARGE,
                       "jpeg: Exif data of %zu bytes and an XMP packet of %zu bytes; each must fit into one segment of "
                       "%d bytes",
                       options->exif.len, options->xmp.len, SEGMENT_BYTES);
    return ERR_OK;
}
