/*
 * json_scan - a strict pull reader for JSON (RFC 8259) that does not allocate and does not recurse.
 *
 * It reads files that are large or read where no JSON library is linked (safetensors headers, vocabularies), and checks
 * texts before cJSON, which accepts too much (see worker/base/json.h). It refuses broken UTF-8, U+0000 in any spelling,
 * control characters in strings, lone surrogates, a byte order mark, leading zeros, trailing commas, comments, anything
 * but white space after the value, and nesting over JSON_MAX_DEPTH.
 *
 * Pull order:   { KEY value KEY value }   [ value value ]
 *
 *   json_scan_init(&s, text);
 *   while ((ev = json_scan_next(&s)) > JSON_END) ...
 */
#ifndef KERNELS_BASE_JSON_SCAN_H
#define KERNELS_BASE_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/span.h"

enum {
    JSON_MAX_DEPTH = 32, /* of a text that json_check() checks, and of json_scan_init() */
    JSON_DEPTH_LIMIT = 128
};

enum json_event {
    JSON_ERROR = -1, /* s->error is the reason, s->at the place; later calls return it again */
    JSON_END,        /* the value and nothing after it */
    JSON_OBJECT,
    JSON_OBJECT_END,
    JSON_ARRAY,
    JSON_ARRAY_END,
    JSON_KEY,    /* s->raw: the text between the quotes, escapes as written */
    JSON_STRING, /* likewise */
    JSON_NUMBER, /* s->raw: the number as written */
    JSON_TRUE,
    JSON_FALSE,
    JSON_NULL
};

struct json_scan {
    struct span text;
    size_t at;            /* byte offset of the next character */
    int depth, max_depth; /* max_depth: at most JSON_DEPTH_LIMIT */
    bool any_text;        /* takes U+0000, lone surrogates and broken UTF-8 in strings: json_check_any() */
    unsigned char state[JSON_DEPTH_LIMIT + 1];
    struct span raw;
    bool escaped; /* raw of a KEY or STRING holds a backslash */
    const char *error;
};

void json_scan_init(struct json_scan *s, struct span text);
enum json_event json_scan_next(struct json_scan *s);

/* Skips the rest of the value whose first event was just returned. false: error or END. */
bool json_scan_skip(struct json_scan *s, enum json_event just_got);

/* Unescapes raw into buf, NUL-terminated, with the length in *ret_len; false when it needs more than size bytes. */
bool json_unescape(struct span raw, char *buf, size_t size, size_t *ret_len);

/* The same for a text of json_check_any(): a lone surrogate becomes three bytes that are no UTF-8, U+0000 a NUL byte.
 */
bool json_unescape_any(struct span raw, char *buf, size_t size, size_t *ret_len);

/* Length of the UTF-8 sequence at the start of text, 1 to 4; 0: it is broken, or the text is empty (RFC 3629). */
size_t json_utf8_length(struct span text);

/* Exact integers only: no fraction, no exponent, no overflow. */
bool json_int64(struct span raw, int64_t *ret);
bool json_double(struct span raw, double *ret); /* finite only; at most 400 characters */

/* Checks a whole text: one value of at most max_depth levels, in which no object has a key twice (compared after
 * unescaping). Takes O(n log n) time, and memory from malloc for the keys. ERR_CORRUPT, ERR_NOMEM. */
MUST_CHECK enum err_code json_check(struct span text, int max_depth, struct err *err);

/*
 * For the answers of a database that holds whatever its users write: strings may have U+0000, lone surrogates and bytes
 * that are no UTF-8, a key may come twice, and max_depth may be up to JSON_DEPTH_LIMIT. Takes O(n) time and no memory.
 * ERR_CORRUPT.
 */
MUST_CHECK enum err_code json_check_any(struct span text, int max_depth, struct err *err);

/* Length of the value at the start of `rest`, which is a part of a text that one of the checks has accepted. Only
 * counts brackets, so it is much faster than a scan. */
size_t json_value_length(struct span rest);

#endif
