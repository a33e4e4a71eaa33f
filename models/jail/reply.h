/*
 * reply - what a jailed decoder answers, in a file of its own: written by the jailed process, believed by nobody.
 *
 *   1. struct reply_header, at 0 (reply.c)    2. pixels, from REPLY_PIXELS_AT on    3. alpha    4. the spans of the
 * notes
 *
 * Parts begin at multiples of 64 bytes. What decoded pictures have besides pixels (struct image_notes) crosses member
 * by member, by the tables in reply.c: a member that they lack arrives as zero, and never as a pointer of the other
 * process.
 */
#ifndef MODELS_JAIL_REPLY_H
#define MODELS_JAIL_REPLY_H

#include "models/image/image.h"

enum { REPLY_PIXELS_AT = 4096, REPLY_SPAN_MAX_BYTES = IMAGE_MAX_FILE_BYTES };

struct reply {
    struct err err; /* code ERR_OK: the rest is there */
    struct image image;
    struct image_notes notes;
};

/* Writes to the file `fd` from its beginning, and gives the pages of large parts back while it goes. ERR_IO: the file
 * would be larger than the process may write. */
MUST_CHECK enum err_code reply_write(int fd, const struct reply *r, struct err *err);

/* Takes an answer from the bytes of the whole file. Pointers in ret are into these bytes. Returns what is wrong with
 * the answer, or NULL. */
const char *reply_read(void *bytes, size_t len, struct reply *ret);

#endif
