/* fuzz_json - any bytes as JSON, and as the answer of a database. A text that json_check() accepts must scan to its
 * end, and all its strings must unescape; the loose check accepts it, too, and its values can be measured and picked.
 */
#include <stdint.h>
#include <stdlib.h>

#include "kernels/base/json_scan.h"
#include "worker/google/stored.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool truth)
{
    if (!truth)
        abort();
}

static void try_string(struct span raw)
{
    char *buf = malloc(raw.len + 1); /* unescaped text is never longer */
    size_t len = 0;

    if (!buf)
        return;
    must(json_unescape(raw, buf, raw.len + 1, &len) && len <= raw.len && buf[len] == 0);
    must(memchr(buf, 0, len) == NULL);
    if (len > 0) {
        char *tight = malloc(len);

        if (tight)
            must(!json_unescape(raw, tight, len, &len));
        free(tight);
    }
    free(buf);
}

static void try_number(struct span raw)
{
    int64_t i;
    double d;

    if (json_int64(raw, &i)) {
        must(json_double(raw, &d));
        must((double)i == d);
    }
}

static enum json_event scan_all(struct json_scan *s)
{
    enum json_event ev;

    while ((ev = json_scan_next(s)) > JSON_END) {
        if (ev == JSON_KEY || ev == JSON_STRING)
            try_string(s->raw);
        if (ev == JSON_NUMBER)
            try_number(s->raw);
    }
    must(s->at <= s->text.len && (ev == JSON_END) == (s->error == NULL));
    return ev;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void try_any(struct span text, bool valid)
{
    static const char *const names[] = { "a", "fields", "" };
    struct stored found[3];
    struct span rest;
    int64_t i;

    if (json_check_any(text, JSON_DEPTH_LIMIT, NULL)) {
        must(!valid);
        return;
    }
    for (; is_blank(*text.ptr); text.ptr++)
        text.len--;
    while (is_blank(text.ptr[text.len - 1]))
        text.len--;
    must(json_value_length(text) == text.len);
    stored_pick(text, names, found, 3);
    for (int k = 0; k < 3; k++) {
        struct stored value = { found[k].json };

        must(stored_is_absent(value) || !json_check_any(value.json, JSON_DEPTH_LIMIT, NULL));
        (void)(stored_integer(value, &i) || stored_timestamp(value, &i) || stored_is_text(value, "x"));
        for (rest = stored_list(value); !stored_is_absent(stored_next(&rest));)
            ;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = { (const char *)data, size };
    struct err err = { 0 };
    struct json_scan s, skipping;
    bool valid = json_check(text, JSON_MAX_DEPTH, &err) == ERR_OK;

    try_any(text, valid);
    json_scan_init(&s, text);
    must(scan_all(&s) == JSON_END || !valid);
    json_scan_init(&skipping, text);
    if (json_scan_skip(&skipping, json_scan_next(&skipping)))
        must((json_scan_next(&skipping) == JSON_END) == (s.error == NULL));
    else
        must(s.error != NULL);
    return 0;
}
