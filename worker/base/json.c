#include "worker/base/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>

#include "kernels/base/json_scan.h"

/* A struct json is a cJSON node under another name; no other file relies on that. */

/* A bit of cJSON.type that cJSON does not use: memory ran out while an item was added to this node. */
enum { NODE_INCOMPLETE = 1 << 16 };

static const cJSON *node(const struct json *v)
{
    return (const cJSON *)v;
}

static const struct json *value(const cJSON *n)
{
    return (const struct json *)n;
}

static void delete_tree(void *tree)
{
    cJSON_Delete(tree);
}

/* Hands a tree to the arena, and deletes it if that fails. */
static enum err_code adopt(struct arena *a, cJSON *tree, struct err *err)
{
    enum err_code rc = tree ? arena_defer(a, delete_tree, tree, err) : err_set(err, ERR_NOMEM, "JSON: no memory");

    if (rc)
        cJSON_Delete(tree);
    return rc;
}

/* cJSON reads past the end of text that is not NUL-terminated (CVE-2023-53154), hence the copy. */
static enum err_code parse_copy(struct arena *a, struct span text, cJSON **ret, struct err *err)
{
    ARENA_SCRATCH(a);
    const char *end;
    char *copy;

    TRY(span_dup(a, text, &copy, err));
    *ret = cJSON_ParseWithLengthOpts(copy, text.len + 1, &end, 1);
    return *ret ? ERR_OK : err_set(err, ERR_NOMEM, "JSON: no memory for %zu bytes", text.len);
}

enum err_code json_parse(struct arena *a, struct span text, int max_depth, const struct json **ret, struct err *err)
{
    cJSON *tree;

    TRY(json_check(text, max_depth, err));
    TRY(parse_copy(a, text, &tree, err));
    TRY(adopt(a, tree, err));
    *ret = value(tree);
    return ERR_OK;
}

enum json_type json_type(const struct json *v)
{
    switch (v ? node(v)->type & 0xFF : cJSON_Invalid) {
    case cJSON_NULL:
        return JSON_T_NULL;
    case cJSON_True:
    case cJSON_False:
        return JSON_T_BOOL;
    case cJSON_Number:
    case cJSON_Raw: /* json_add_int */
        return JSON_T_NUMBER;
    case cJSON_String:
        return JSON_T_STRING;
    case cJSON_Array:
        return JSON_T_ARRAY;
    case cJSON_Object:
        return JSON_T_OBJECT;
    default:
        return JSON_T_ABSENT;
    }
}

static bool is_container(const struct json *v)
{
    return json_type(v) == JSON_T_ARRAY || json_type(v) == JSON_T_OBJECT;
}

const struct json *json_get(const struct json *object, const char *key)
{
    if (json_type(object) != JSON_T_OBJECT)
        return NULL;
    return value(cJSON_GetObjectItemCaseSensitive(node(object), key));
}

int json_count(const struct json *array_or_object)
{
    return is_container(array_or_object) ? cJSON_GetArraySize(node(array_or_object)) : 0;
}

const struct json *json_at(const struct json *array_or_object, int i)
{
    return is_container(array_or_object) ? value(cJSON_GetArrayItem(node(array_or_object), i)) : NULL;
}

const struct json *json_first(const struct json *array_or_object)
{
    return is_container(array_or_object) ? value(node(array_or_object)->child) : NULL;
}

const struct json *json_next(const struct json *v)
{
    return v ? value(node(v)->next) : NULL;
}

const char *json_key(const struct json *member)
{
    return member ? node(member)->string : NULL;
}

const char *json_string(const struct json *v)
{
    return json_type(v) == JSON_T_STRING ? node(v)->valuestring : NULL;
}

const char *json_text(const struct json *v)
{
    const char *text = json_string(v);

    return text ? text : "";
}

bool json_number(const struct json *v, double *ret)
{
    const cJSON *n = node(v);

    if (json_type(v) != JSON_T_NUMBER)
        return false;
    if (cJSON_IsRaw(n))
        return json_double(span_of(n->valuestring), ret);
    if (!isfinite(n->valuedouble))
        return false;
    *ret = n->valuedouble;
    return true;
}

bool json_integer(const struct json *v, int64_t *ret)
{
    double d;

    if (!json_number(v, &d) || !(fabs(d) < 0x1p53) || d != trunc(d))
        return false;
    *ret = (int64_t)d;
    return true;
}

bool json_bool(const struct json *v, bool *ret)
{
    if (json_type(v) != JSON_T_BOOL)
        return false;
    *ret = cJSON_IsTrue(node(v));
    return true;
}

/* ---- building: a parent is NULL if there was no memory for it; the node above it records that ---- */

static struct json *new_root(struct arena *a, cJSON *tree)
{
    return adopt(a, tree, NULL) ? NULL : (struct json *)tree;
}

struct json *json_new_object(struct arena *a)
{
    return new_root(a, cJSON_CreateObject());
}

static struct json *add(struct json *parent, const char *key, cJSON *item)
{
    cJSON *p = (cJSON *)parent;
    bool added;

    assert(!p || (key ? cJSON_IsObject(p) : cJSON_IsArray(p)));
    if (!p || !item)
        added = false;
    else
        added = key ? cJSON_AddItemToObject(p, key, item) : cJSON_AddItemToArray(p, item);
    if (!added) {
        cJSON_Delete(item);
        if (p)
            p->type |= NODE_INCOMPLETE;
        return NULL;
    }
    return (struct json *)item;
}

struct json *json_add_object(struct json *parent, const char *key)
{
    return add(parent, key, cJSON_CreateObject());
}

struct json *json_add_array(struct json *parent, const char *key)
{
    return add(parent, key, cJSON_CreateArray());
}

void json_add_string(struct json *parent, const char *key, const char *text)
{
    assert(text);
    (void)add(parent, key, cJSON_CreateString(text));
}

void json_add_bool(struct json *parent, const char *key, bool b)
{
    (void)add(parent, key, cJSON_CreateBool(b));
}

/* With as many digits as it takes to read the same number again: cJSON itself stops where the rest is less than
 * DBL_EPSILON. */
void json_add_number(struct json *parent, const char *key, double d)
{
    char digits[32];

    for (int n = 15; n <= 17; n++) {
        (void)snprintf(digits, sizeof digits, "%.*g", n, d);
        if (strtod(digits, NULL) == d)
            break;
    }
    (void)add(parent, key, isfinite(d) ? cJSON_CreateRaw(digits) : cJSON_CreateNumber(d));
}

void json_add_int(struct json *parent, const char *key, int64_t i)
{
    char digits[24];

    (void)snprintf(digits, sizeof digits, "%" PRId64, i);
    (void)add(parent, key, cJSON_CreateRaw(digits)); /* cJSON's numbers are doubles */
}

void json_add_copy(struct json *parent, const char *key, const struct json *v)
{
    (void)add(parent, key, cJSON_Duplicate(node(v), 1));
}

/* Refuses a tree with a missing node or a number that JSON cannot write. Recursion is safe: json_parse and our code
 * limit the depth. */
static enum err_code check_tree(const cJSON *n, struct err *err)
{
    if (!n || n->type & NODE_INCOMPLETE)
        return err_set(err, ERR_NOMEM, "JSON: no memory for a document");
    if (cJSON_IsNumber(n) && !isfinite(n->valuedouble))
        return err_set(err, ERR_NUMERIC, "JSON: '%s' is not a finite number", n->string ? n->string : "");
    for (const cJSON *child = n->child; child; child = child->next)
        TRY(check_tree(child, err));
    return ERR_OK;
}

enum err_code json_print(struct arena *a, const struct json *root, char **ret, struct err *err)
{
    enum err_code rc;
    char *text;

    TRY(check_tree(node(root), err));
    text = cJSON_PrintUnformatted(node(root));
    rc = text ? span_dup(a, span_of(text), ret, err) : err_set(err, ERR_NOMEM, "JSON: no memory to write a document");
    cJSON_free(text);
    return rc;
}
