/*
 * rfc3339 - times as the cloud APIs write them, "2024-05-06T07:08:09.123456Z", to microseconds since 1970 and back.
 *
 * The reader accepts any offset, 0 to 9 digits of fraction (truncated to microseconds), the years 1 to 9999, and a leap
 * second, which counts as the second after it, but no text before or after. Source: RFC 3339 5.6, PROTOCOL.md 1.2 and
 * 4.2.
 */
#ifndef WORKER_BASE_RFC3339_H
#define WORKER_BASE_RFC3339_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/span.h"

enum { RFC3339_SIZE = 28 }; /* "2024-05-06T07:08:09.123456Z" and the NUL */

bool rfc3339_parse(struct span text, int64_t *ret_us);
/* A time outside the years 1 to 9999 is written as the first or last of them. */
void rfc3339_format(int64_t us, char ret[RFC3339_SIZE]);

#endif
