/*
 * json - cJSON behind a strict gate and typed, case-sensitive getters. The only file that includes cJSON.
 *
 * json_parse refuses what json_check refuses (duplicate keys, U+0000, broken UTF-8, trailing bytes, too much depth),
 * then builds the tree, which lives until the arena is rewound. Getters take NULL for an absent value, so they can be
 * nested. Two of them have names of jansson, which libjwt uses: the Makefile hides ours from it.
 */
#ifndef WORKER_BASE_JSON_H
#define WORKER_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

struct json; /* one value; opaque */

enum json_type { JSON_T_ABSENT, JSON_T_NULL, JSON_T_BOOL, JSON_T_NUMBER, JSON_T_STRING, JSON_T_ARRAY, JSON_T_OBJECT };

MUST_CHECK enum err_code json_parse(struct arena *a, struct span text, int max_depth, const struct json **ret,
                                    struct err *err);

enum json_type json_type(const struct json *v);                          /* NULL: absent */
const struct json *json_get(const struct json *object, const char *key); /* NULL: absent, or not an object */
int json_count(const struct json *array_or_object);
const struct json *json_at(const struct json *array_or_object, int i); /* in O(i): use json_first in a loop */
const struct json *json_first(const struct json *array_or_object); /* for (v = json_first(list); v; v = json_next(v)) */
const struct json *json_next(const struct json *v);
const char *json_key(const struct json *member); /* the name of a value inside an object */

const char *json_string(const struct json *v);         /* NULL unless a string */
const char *json_text(const struct json *v);           /* "" unless a string */
bool json_number(const struct json *v, double *ret);   /* false unless a number */
bool json_integer(const struct json *v, int64_t *ret); /* false unless an integer with |v| < 2^53, which is exact */
bool json_bool(const struct json *v, bool *ret);       /* false unless true or false */

/* Building: nodes belong to their parent, the root to the arena. These functions assert that the parent has the right
 * type; when memory runs out they record it, and json_print reports it. */
struct json *json_new_object(struct arena *a);
struct json *json_add_object(struct json *parent, const char *key); /* key NULL: parent is an array */
struct json *json_add_array(struct json *parent, const char *key);
void json_add_string(struct json *parent, const char *key, const char *value);
void json_add_bool(struct json *parent, const char *key, bool value);
void json_add_number(struct json *parent, const char *key, double value); /* exact */
void json_add_int(struct json *parent, const char *key, int64_t value);   /* exact: written as digits */
void json_add_copy(struct json *parent, const char *key, const struct json *value);
MUST_CHECK enum err_code json_print(struct arena *a, const struct json *root, char **ret, struct err *err);

#endif
