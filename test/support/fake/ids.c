#include "test/support/fake/ids.h"

#include "kernels/base/arena.h"
#include "kernels/base/file.h"
#include "kernels/base/json_scan.h"
#include "test/support/check.h"

enum { FILE_MAX = 4 << 20 };

static void read_ids(struct json_scan *s, struct ids_case *c)
{
    int64_t id;

    CHECK_INT(json_scan_next(s), JSON_ARRAY);
    for (c->n = 0; json_scan_next(s) == JSON_NUMBER; c->n++) {
        CHECK(c->n < IDS_MAX && json_int64(s->raw, &id));
        c->ids[c->n] = (int32_t)id;
    }
}

static void read_text(struct json_scan *s, struct ids_case *c, struct arena *a)
{
    char *buf = NULL;

    CHECK_INT(json_scan_next(s), JSON_STRING);
    CHECK(arena_alloc(a, s->raw.len + 1, 1, &buf, NULL) == ERR_OK);
    CHECK(json_unescape(s->raw, buf, s->raw.len + 1, &c->text.len));
    c->text.ptr = buf;
}

void ids_each(const char *path, const char *kind, void (*fn)(const struct ids_case *c, void *ctx), void *ctx)
{
    struct arena a;
    struct json_scan s;
    struct span file = { 0 };
    struct err err = { 0 };
    struct ids_case c;
    int n = 0;

    CHECK_OK(arena_init(&a, 4 * FILE_MAX, &err), err);
    CHECK_OK(file_read(path, FILE_MAX, &a, &file, &err), err);
    json_scan_init(&s, file);
    CHECK_INT(json_scan_next(&s), JSON_ARRAY);
    while (json_scan_next(&s) == JSON_OBJECT) {
        while (json_scan_next(&s) == JSON_KEY) {
            if (span_is(s.raw, "text"))
                read_text(&s, &c, &a);
            else if (span_is(s.raw, kind))
                read_ids(&s, &c);
            else
                CHECK(json_scan_skip(&s, json_scan_next(&s)));
        }
        fn(&c, ctx);
        n++;
    }
    CHECK_INT(json_scan_next(&s), JSON_END);
    CHECK(n > 0);
    arena_done(&a);
}

void ids_check(struct span text, const int32_t *got, int n_got, const int32_t *want, int n_want)
{
    for (int i = 0; i < n_got && i < n_want; i++)
        if (got[i] != want[i])
            test_fail(__FILE__, __LINE__, "\"%.*s\": id %d is %d, want %d", SPAN_ARG(text), i, got[i], want[i]);
    if (n_got != n_want)
        test_fail(__FILE__, __LINE__, "\"%.*s\": %d ids, want %d", SPAN_ARG(text), n_got, n_want);
}
