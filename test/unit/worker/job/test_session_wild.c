/* Documents that hold anything that Firestore can hold: each of them ends, soon, and costs little processor time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/base/json_scan.h"
#include "test/support/check.h"
#include "test/support/fake/session_scene.h"

enum {
    DOCUMENTS = 60,
    STORED_MAX = 1 << 20, /* bytes of a document, as Firestore counts them */
    ROOM = 28 << 20,      /* as JSON */
    DEPTH = 20,
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
    PROCESSOR_MS = 15000
#else
    PROCESSOR_MS = 1000
#endif
};

/* ---- a generator; its random numbers are seeded ---- */

struct wild {
    struct fake_sys random;
    char *text; /* ROOM */
    size_t at, stored;
    size_t budget; /* of stored bytes */
};

static unsigned below(struct wild *w, unsigned n) { return (unsigned)sys_random_below(&w->random.sys, n); }

static void put(struct wild *w, const char *text)
{
    size_t n = strlen(text);

    CHECK(w->at + n < ROOM);
    memcpy(w->text + w->at, text, n + 1);
    w->at += n;
}

static void put_string(struct wild *w, size_t n)
{
    static const char *const pieces[] = { "a", " ", "\\u0000", "\\ud800", "\\udc00", "\\ud83d\\ude00", "\\n", "\\\"", "\\\\", "\\u0001",
                                          "\xC3\xA4", "\xED\xA0\x80", "grass", "{", "]", "/", "\\/", "\x7F" };
    unsigned only = below(w, 2 * sizeof pieces / sizeof *pieces); /* often one piece alone, over and over */

    put(w, "\"");
    for (size_t i = 0; i < n; i++)
        put(w, pieces[only < sizeof pieces / sizeof *pieces ? only : below(w, sizeof pieces / sizeof *pieces)]);
    put(w, "\"");
    w->stored += n + 1;
}

static void put_scalar(struct wild *w)
{
    static const char *const scalars[] = {
        "{\"nullValue\":null}", "{\"booleanValue\":false}", "{\"integerValue\":\"-9223372036854775808\"}",
        "{\"integerValue\":\"9223372036854775807\"}", "{\"doubleValue\":1.7976931348623157E308}", "{\"doubleValue\":4.9E-324}",
        "{\"doubleValue\":\"NaN\"}", "{\"doubleValue\":\"-Infinity\"}", "{\"doubleValue\":-0}", "{\"timestampValue\":\"0001-01-01T00:00:00Z\"}",
        "{\"timestampValue\":\"9999-12-31T23:59:59.999999999Z\"}", "{\"bytesValue\":\"AAAA\"}", "{\"bytesValue\":\"\"}",
        "{\"referenceValue\":\"projects/p/databases/(default)/documents/a/b\"}", "{\"geoPointValue\":{\"latitude\":-90,\"longitude\":1E-300}}",
        "{\"mapValue\":{}}", "{\"arrayValue\":{}}", "{\"stringValue\":\"\"}",
    };

    put(w, scalars[below(w, sizeof scalars / sizeof *scalars)]);
    w->stored += 8;
}

static void put_value(struct wild *w, int depth, bool in_array);

/* Arrays of up to 40,000 elements, maps of up to 2,000 members. */
static void put_list(struct wild *w, int depth, bool is_map)
{
    static const unsigned sizes[] = { 0, 1, 2, 5, 300, 2000, 40000 };
    unsigned n = sizes[below(w, is_map ? 6 : 7)], same = below(w, 2);
    size_t first = 0, length = 0;
    char name[20];

    put(w, is_map ? "{\"mapValue\":{\"fields\":{" : "{\"arrayValue\":{\"values\":[");
    for (unsigned i = 0; i < n && w->stored < w->budget && w->at + 2 * length + 1000 < ROOM; i++) {
        put(w, i ? "," : "");
        (void)snprintf(name, sizeof name, "\"k%u\":", i);
        if (is_map)
            put(w, name);
        if (same && length && !is_map) { /* the element before it again */
            memcpy(w->text + w->at, w->text + first, length);
            w->at += length;
            w->stored += 8;
            continue;
        }
        first = w->at;
        put_value(w, i < 3 ? depth + 1 : DEPTH, !is_map);
        length = w->at - first;
    }
    put(w, is_map ? "}}}" : "]}}");
}

static void put_value(struct wild *w, int depth, bool in_array)
{
    static const size_t lengths[] = { 0, 1, 40, 2000, 100000, STORED_MAX };
    unsigned kind = below(w, 6);

    if (depth < DEPTH && w->stored < w->budget && kind < 3) {
        put_list(w, depth, in_array || kind);
    } else if (kind == 3 && w->stored < w->budget) {
        size_t most = (w->budget - w->stored) / 4, n = lengths[below(w, depth < DEPTH ? 6 : 3)];

        put(w, "{\"stringValue\":");
        put_string(w, n < most ? n : most);
        put(w, "}");
    } else
        put_scalar(w);
}

static struct span generate(struct wild *w, const char *member)
{
    size_t begin = w->at;

    (void)snprintf(w->text + w->at, ROOM - w->at, "\"%s\":", member);
    w->at += strlen(w->text + w->at);
    put_value(w, 1, false);
    put(w, ",");
    return (struct span){ w->text + begin, w->at - begin };
}

/* ---- one document ---- */

static struct session_scene *s;

static int64_t processor_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* What one delivery comes to, with the look before the queue: OUTCOME_OPEN becomes the end of the job. */
static enum outcome deliver(void)
{
    struct budget budget = { .sys = &s->time.sys, .deadline_mono_ms = s->time.mono_ms + 280000 };
    struct prompt_wishes wishes = { 0 };
    enum outcome outcome = OUTCOME_OPEN;
    struct document_report report = { .edited_path = "e", .preview_path = "p" };
    const char *prompt = NULL;
    struct session session;
    struct err err = { 0 };
    ARENA_SCRATCH(&s->arena);

    CHECK_OK(session_init(&session, &s->store, "users/u/sessions/s", "m1", &err), err);
    if (session_screen(&session, &budget, &outcome, &err) || outcome == OUTCOME_OPEN) {
        err = (struct err){ 0 };
        CHECK_OK(session_claim(&session, &budget, &s->arena, &outcome, &wishes, &err), err);
    }
    if (outcome == OUTCOME_OPEN) {
        enum err_code rc = prompt_build(&wishes, &s->arena, &prompt, NULL);

        CHECK(rc == ERR_OK || rc == ERR_PROMPT);
        report.error = job_error_of(rc);
        CHECK_OK(rc ? session_fail(&session, &report, &budget, &err) : session_complete(&session, &report, &budget, &err), err);
        outcome = rc ? OUTCOME_FAILED : OUTCOME_COMPLETED;
    }
    session_done(&session);
    return outcome;
}

/* -> how the first delivery ended. The outcome is an ack, the second delivery finds it done, all of it in time. */
static enum outcome check_ends(const char *what)
{
    int64_t since = processor_ms(), took;
    enum outcome first = deliver();

    took = processor_ms() - since;
    CHECK_INT(outcome_info(first)->http_status, 204);
    CHECK_INT(deliver(), OUTCOME_DUPLICATE);
    if (took > PROCESSOR_MS)
        test_fail(__FILE__, __LINE__, "%s: %lld ms of processor time", what, (long long)took);
    return first;
}

TEST(session_wild__whatever_a_document_holds_it_ends_at_once)
{
    static const char *const members[] = { "prompt", "sceneLabels", "inpaint", "processingStatus" };
    int n_outcomes[OUTCOMES] = { 0 };
    struct wild w = { .text = malloc(ROOM) };
    char what[60];

    CHECK(w.text);
    fake_sys_init(&w.random, 0, 20261130);
    for (int i = 0; i < DOCUMENTS; i++) {
        s = session_scene_open("m1");
        fake_firestore_put(&s->fake, i % 3 ? "{\"note\":{\"stringValue\":\"x\"}}" : "{\"processingStatus\":{\"stringValue\":\"pending\"}}");
        w.at = w.stored = 0;
        w.budget = i % 5 ? STORED_MAX / 16 : STORED_MAX;
        for (unsigned m = 0; m < 4; m++)
            if (below(&w, 2) && !(m == 3 && i % 3 == 0) && w.stored < w.budget)
                s->fake.wild[s->fake.n_wild++] = generate(&w, members[m]);
        (void)snprintf(what, sizeof what, "document %d, %zu bytes", i, w.at);
        n_outcomes[check_ends(what)]++;
        session_scene_close(s);
    }
    CHECK(n_outcomes[OUTCOME_COMPLETED] > 0 && n_outcomes[OUTCOME_FAILED] > 0);
    CHECK_INT(n_outcomes[OUTCOME_UNREADABLE], 0); /* all of this is legal, and understood */
    free(w.text);
}

/* The same value so often, between a beginning and an end. */
static struct span repeated(const char *begin, const char *value, size_t n, const char *end)
{
    size_t length = strlen(value), at = strlen(begin);
    char *text = malloc(at + n * length + strlen(end) + 1);

    CHECK(text);
    (void)strcpy(text, begin);
    for (size_t i = 0; i < n; i++, at += length)
        memcpy(text + at, value, length);
    (void)strcpy(text + at, end);
    return (struct span){ text, at + strlen(end) };
}

TEST(session_wild__the_largest_documents_cost_little)
{
#define LABELS "\"sceneLabels\":{\"arrayValue\":{\"values\":["
#define SPACES "                                                                                              "
    static const struct {
        const char *what, *begin, *value;
        size_t n;
        const char *end;
        enum outcome want;
    } cases[] = {
        { "39,000 labels that cannot be used", LABELS, "{\"stringValue\":\"a:b\"},", 39000, "{\"stringValue\":\"grass\"}]}},", OUTCOME_COMPLETED },
        { "labels of blanks alone", LABELS, "{\"stringValue\":\"" SPACES "\"},", 11000, "{\"nullValue\":null}]}},", OUTCOME_COMPLETED },
        { "labels of one NUL", LABELS, "{\"stringValue\":\"\\u0000\"},", 500000, "{\"nullValue\":null}]}},", OUTCOME_COMPLETED },
        { "a million booleans", LABELS, "{\"booleanValue\":false},", 1000000, "{\"nullValue\":null}]}},", OUTCOME_COMPLETED },
        { "a million booleans, printed prettily", LABELS, "{\n        \"booleanValue\": false\n      }, ", 1000000, "{\"nullValue\":null}]}},", OUTCOME_UNREADABLE },
        { "a million members", "\"sceneLabels\":{\"mapValue\":{\"fields\":{", "\"k\":{\"nullValue\":null},", 1000000, "\"surface\":{\"stringValue\":\"sand\"}}}},", OUTCOME_COMPLETED },
        { "a prompt of NUL", "\"prompt\":{\"stringValue\":\"", "\\u0000", 1048487, "\"},", OUTCOME_FAILED },
        { "a prompt of quotes", "\"prompt\":{\"stringValue\":\"", "\\\"", 1048487, "\"},", OUTCOME_FAILED },
        { "a prompt of blanks", "\"prompt\":{\"stringValue\":\"", " ", 1048487, "\"},", OUTCOME_COMPLETED },
        { "a prompt of numbers", "\"prompt\":{\"arrayValue\":{\"values\":[", "{\"integerValue\":\"-9223372036854775808\"},", 130000, "{\"nullValue\":null}]}},", OUTCOME_FAILED },
        { "a status of a million", "\"processingStatus\":{\"stringValue\":\"", "\\ud800", 340000, "\"},", OUTCOME_COMPLETED },
        { "a lease of a million", "\"inpaint\":{\"mapValue\":{\"fields\":{\"lease\":{\"mapValue\":{\"fields\":{\"expiresAt\":{\"stringValue\":\"", "x", 1048000, "\"}}}}}}},", OUTCOME_COMPLETED },
        { "a message of a million", "\"inpaint\":{\"mapValue\":{\"fields\":{\"messageId\":{\"stringValue\":\"m1", "\\u0000", 1048000, "\"}}}},", OUTCOME_COMPLETED },
    };
    struct span text;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        s = session_scene_open("m1");
        fake_firestore_put(&s->fake, "{\"note\":{\"stringValue\":\"x\"}}");
        text = repeated(cases[i].begin, cases[i].value, cases[i].n, cases[i].end);
        s->fake.wild[s->fake.n_wild++] = text;
        CHECK_INT(check_ends(cases[i].what), cases[i].want);
        session_scene_close(s);
        free((void *)(uintptr_t)text.ptr);
    }
}
