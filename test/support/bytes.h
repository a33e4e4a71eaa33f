/*
 * bytes - builds small files in memory, little-endian, for tests of readers. Aborts when memory is exhausted.
 */
#ifndef TEST_SUPPORT_BYTES_H
#define TEST_SUPPORT_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/base/span.h"

struct bytes {
    char *ptr;
    size_t len, room;
};

void bytes_put(struct bytes *b, const void *data, size_t n);
void bytes_text(struct bytes *b, const char *text); /* without its NUL */
void bytes_u8(struct bytes *b, uint8_t v);
void bytes_u32(struct bytes *b, uint32_t v);
void bytes_u64(struct bytes *b, uint64_t v);
void bytes_f32(struct bytes *b, float v);
void bytes_pad(struct bytes *b, size_t multiple); /* with zeros */
void bytes_done(struct bytes *b);

/* A copy in a heap block of exactly n bytes, so that AddressSanitizer sees a read beyond its end; free() it. */
char *exact_copy(const void *data, size_t n);

/*
 * Files in a folder under /tmp that this process makes and removes when it exits. `name` may contain one slash.
 * temp_path() returns the path, in one of a few static buffers; temp_file() also writes the file.
 */
const char *temp_path(const char *name);
const char *temp_file(const char *name, const void *data, size_t n);
/* Makes a folder of this name there; its path goes to `ret`. */
void temp_folder(const char *name, char *ret, size_t size);

#endif
