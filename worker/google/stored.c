#include "worker/google/stored.h"

#include "kernels/base/json_scan.h"
#include "worker/base/rfc3339.h"

enum { SHORT_TEXT_MAX = 255 };

static const struct stored absent = { { NULL, 0 } };

/* ---- walking over a checked text: each function moves *rest ---- */

static void skip_blanks(struct span *rest)
{
    while (rest->len && (*rest->ptr == ' ' || *rest->ptr == '\n' || *rest->ptr == '\r' || *rest->ptr == '\t'))
        rest->ptr++, rest->len--;
}

static bool accept(struct span *rest, char c)
{
    skip_blanks(rest);
    if (!rest->len || *rest->ptr != c)
        return false;
    rest->ptr++, rest->len--;
    return true;
}

static struct span take_value(struct span *rest)
{
    struct span value;

    skip_blanks(rest);
    value = (struct span){ rest->ptr, json_value_length(*rest) };
    rest->ptr += value.len;
    rest->len -= value.len;
    return value;
}

/* Whether the text of a JSON string, quotes included, means `text`. */
static bool means(struct span json, const char *text)
{
    struct span raw = { json.ptr + 1, json.len - 2 };
    char plain[SHORT_TEXT_MAX + 1];
    size_t n;

    if (json.len < 2 || *json.ptr != '"')
        return false;
    if (!memchr(raw.ptr, '\\', raw.len))
        return span_is(raw, text);
    return json_unescape_any(raw, plain, sizeof plain, &n) && span_is((struct span){ plain, n }, text);
}

void stored_pick(struct span object, const char *const *names, struct stored *ret, int n)
{
    struct span rest = object;
    int left = n;

    for (int i = 0; i < n; i++)
        ret[i] = absent;
    if (!accept(&rest, '{'))
        return;
    do {
        struct span key = take_value(&rest), value;

        if (key.len < 2 || !accept(&rest, ':'))
            return;
        value = take_value(&rest);
        for (int i = 0; i < n; i++)
            if (stored_is_absent(ret[i]) && means(key, names[i])) {
                ret[i].json = value;
                left--;
            }
    } while (left && accept(&rest, ','));
}

struct stored stored_in(struct span object, const char *name)
{
    struct stored ret;

    stored_pick(object, &name, &ret, 1);
    return ret;
}

/* ---- values ---- */

/* What the value says of its type: "x" of {"stringValue":"x"}. */
static struct span content(struct stored v, const char *type)
{
    return stored_in(v.json, type).json;
}

static bool begins_with(struct span json, char c)
{
    return json.len && *json.ptr == c;
}

struct span stored_members(struct stored map)
{
    return stored_in(content(map, "mapValue"), "fields").json;
}

struct stored stored_member(struct stored map, const char *name)
{
    return stored_in(stored_members(map), name);
}

bool stored_is_null(struct stored v)
{
    return span_is(content(v, "nullValue"), "null");
}

static bool exact_double(struct span raw, int64_t *ret)
{
    double d;

    if (!json_double(raw, &d) || !(d > -0x1p53 && d < 0x1p53) || d != (double)(int64_t)d)
        return false;
    *ret = (int64_t)d;
    return true;
}

bool stored_integer(struct stored v, int64_t *ret)
{
    struct span number = content(v, "integerValue");

    if (begins_with(number, '"'))
        return json_int64((struct span){ number.ptr + 1, number.len - 2 }, ret);
    return exact_double(number, ret) || exact_double(content(v, "doubleValue"), ret);
}

bool stored_timestamp(struct stored v, int64_t *ret_us)
{
    struct span text = content(v, "timestampValue");

    return begins_with(text, '"') && rfc3339_parse((struct span){ text.ptr + 1, text.len - 2 }, ret_us);
}

bool stored_is_text(struct stored v, const char *text)
{
    return means(content(v, "stringValue"), text);
}

enum err_code stored_unescape(struct span json, struct arena *a, struct span *ret, struct err *err)
{
    char *text;
    size_t n;

    *ret = (struct span){ NULL, 0 };
    if (!begins_with(json, '"'))
        return ERR_OK;
    TRY(arena_alloc(a, json.len, 1, &text, err)); /* a string does not become longer when it is unescaped */
    if (!json_unescape_any((struct span){ json.ptr + 1, json.len - 2 }, text, json.len, &n))
        return err_set(err, ERR_INTERNAL, "firestore: a checked string does not unescape");
    *ret = (struct span){ text, n };
    return ERR_OK;
}

enum err_code stored_text(struct stored v, struct arena *a, struct span *ret, struct err *err)
{
    return stored_unescape(content(v, "stringValue"), a, ret, err);
}

struct span stored_list(struct stored array)
{
    struct span rest = stored_in(content(array, "arrayValue"), "values").json;

    return accept(&rest, '[') ? rest : (struct span){ NULL, 0 };
}

struct stored stored_next(struct span *rest)
{
    struct stored value = absent;

    skip_blanks(rest);
    if (!rest->len || *rest->ptr == ']')
        return absent;
    value.json = take_value(rest);
    (void)accept(rest, ',');
    return value;
}
