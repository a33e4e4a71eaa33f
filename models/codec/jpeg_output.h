/*
 * jpeg_output - what the files over libjpeg share: errors as values and, for those that write, memory that grows and
 * the segments with the metadata.
 *
 * libjpeg leaves through `jump` on errors: whoever calls it does so behind setjmp(), and keeps in structs, not in
 * locals, whatever is used afterwards. libjpeg's own destination in memory is not used, because it loses its buffer
 * when it fails after the buffer has grown.
 */
#ifndef MODELS_CODEC_JPEG_OUTPUT_H
#define MODELS_CODEC_JPEG_OUTPUT_H

#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs FILE */

#include <jpeglib.h>

#include "models/codec/jpeg.h"

struct jpeg_guard {
    struct jpeg_error_mgr mgr; /* first: libjpeg passes a pointer to it, which is cast back */
    jmp_buf jump;
    struct err *err;
    enum err_code rc;
    enum err_code code; /* of every error of libjpeg but exhausted memory */
};

/* Returns what a libjpeg object's `err` takes. Warnings that may mean lost pixels are errors. */
struct jpeg_error_mgr *jpeg_guard_init(struct jpeg_guard *g, enum err_code code, struct err *err);

/* Leaves through g->jump with g->rc = rc, which was made by err_set(). */
void jpeg_guard_leave(struct jpeg_guard *g, enum err_code rc) __attribute__((noreturn));

/* The same with libjpeg's words for its error. */
void jpeg_guard_leave_saying(j_common_ptr c, enum err_code code) __attribute__((noreturn));

/* Whether the coefficients are still those that were encoded, by libjpeg's warning. So they are with bytes too many
 * behind a scan or between segments, and with scan parameters that do not matter to a sequential file, which phones
 * write. */
bool jpeg_warning_is_harmless(const struct jpeg_error_mgr *m);

/* A file being written, in memory of malloc(). */
struct jpeg_sink {
    struct jpeg_destination_mgr mgr; /* first, as above */
    struct jpeg_guard *guard;
    unsigned char *bytes;
    size_t len, room; /* len is there when libjpeg has finished */
};

/* Starts a file anew; the memory of one before it is used again. jpeg_sink_done() takes a zeroed sink. */
void jpeg_sink_start(struct jpeg_sink *s, struct jpeg_guard *g, j_compress_ptr c);
void jpeg_sink_done(struct jpeg_sink *s);

/* Checks, before libjpeg starts, that the metadata fit into their segments: ERR_TOO_LARGE. */
MUST_CHECK enum err_code jpeg_check_metadata(const struct jpeg_options *options, struct err *err);

/* Right after the start of the file: Exif data, XMP packet, profile. */
void jpeg_write_metadata(j_compress_ptr c, const struct jpeg_options *options);

#endif
