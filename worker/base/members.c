#include "worker/base/members.h"

static bool key_is(const struct json_scan *s, const char *name)
{
    char plain[MEMBER_NAME_MAX + 1];
    size_t n;

    if (!s->escaped)
        return span_is(s->raw, name);
    return json_unescape(s->raw, plain, sizeof plain, &n) && span_is((struct span){ plain, n }, name);
}

/* Reads to the end of the value that `event` has just begun. */
static bool take_value(struct json_scan *s, enum json_event event, struct span *ret_raw)
{
    size_t start = s->at;

    *ret_raw = (struct span){ "", 0 };
    if (event == JSON_STRING || event == JSON_NUMBER)
        *ret_raw = s->raw;
    if (event != JSON_OBJECT && event != JSON_ARRAY)
        return event > JSON_END;
    start--; /* raw includes the bracket */
    if (!json_scan_skip(s, event))
        return false;
    *ret_raw = (struct span){ s->text.ptr + start, s->at - start };
    return true;
}

enum err_code members_read(struct span text, struct member *members, int n, struct err *err)
{
    struct json_scan s;

    for (int i = 0; i < n; i++)
        members[i] = (struct member){ .name = members[i].name };
    json_scan_init(&s, text);
    if (json_scan_next(&s) != JSON_OBJECT)
        return err_set(err, ERR_INVALID, "json: %s", s.error ? s.error : "not an object");
    while (json_scan_next(&s) == JSON_KEY) {
        struct member *found = NULL;
        enum json_event event;
        struct span raw;

        for (int i = 0; i < n && !found; i++)
            if (key_is(&s, members[i].name))
                found = &members[i];
        event = json_scan_next(&s);
        if (!take_value(&s, event, &raw))
            break;
        if (found)
            *found = (struct member){ found->name, event, raw };
    }
    if (s.error)
        return err_set(err, ERR_INVALID, "json: %s", s.error);
    return ERR_OK;
}

enum err_code members_parse(struct span text, int max_depth, const char *what, struct member *members, int n,
                            struct err *err)
{
    struct err why = { 0 };

    if (json_check(text, max_depth, &why) || members_read(text, members, n, &why))
        return err_set(err, why.code == ERR_NOMEM ? ERR_NOMEM : ERR_INVALID, "%s: %s", what, why.msg);
    return ERR_OK;
}

bool members_next(struct span array, size_t *at, enum json_event *ret_type, struct span *ret_raw)
{
    struct json_scan s;
    enum json_event event;

    json_scan_init(&s, array);
    if (json_scan_next(&s) != JSON_ARRAY)
        return false;
    if (*at) { /* continue behind the previous element */
        struct span rest = { array.ptr + *at, array.len - *at };

        s.at = *at;
        while (rest.len && strchr(" \t\r\n", *rest.ptr))
            rest.ptr++, rest.len--;
        if (!rest.len || *rest.ptr != ',')
            return false;
        s.at = array.len - rest.len + 1;
    }
    event = json_scan_next(&s);
    if (event == JSON_ARRAY_END || !take_value(&s, event, ret_raw))
        return false;
    *ret_type = event;
    *at = s.at;
    return true;
}

bool member_text(const struct member *m, char *buf, size_t size)
{
    size_t n;

    return m->type == JSON_STRING && json_unescape(m->raw, buf, size, &n);
}

bool member_text_or_digits(const struct member *m, char *buf, size_t size)
{
    if (m->type != JSON_NUMBER)
        return member_text(m, buf, size);
    if (m->raw.len >= size)
        return false;
    for (size_t i = 0; i < m->raw.len; i++)
        if (m->raw.ptr[i] < '0' || m->raw.ptr[i] > '9')
            return false;
    memcpy(buf, m->raw.ptr, m->raw.len);
    buf[m->raw.len] = 0;
    return true;
}

bool member_integer(const struct member *m, int64_t *ret)
{
    return m->type == JSON_NUMBER && json_int64(m->raw, ret);
}

enum err_code member_dup(const struct member *m, struct arena *a, char **ret, struct err *err)
{
    char *text;
    size_t n;

    *ret = NULL;
    if (m->type != JSON_STRING)
        return ERR_OK;
    TRY(arena_alloc(a, m->raw.len + 1, 1, &text, err)); /* a string does not become longer when it is unescaped */
    if (!json_unescape(m->raw, text, m->raw.len + 1, &n))
        return err_set(err, ERR_INVALID, "json: a string with a broken escape");
    *ret = text;
    return ERR_OK;
}
