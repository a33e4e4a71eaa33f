/* Ranges, resumption, versions and checksums of objects that are fetched into memory; PROTOCOL.md 5.5. */
#include "worker/weights/object_fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernels/base/crc32c.h"
#include "kernels/base/file.h"
#include "test/support/check.h"
#include "test/support/fake/storage_scene.h"

enum { BYTES = FETCH_HEAD_BYTES + FETCH_PIECE_BYTES + 12345, MAX_FAULTS = 8 };

#define MEDIA_URL "http://127.0.0.1:9199/storage/v1/b/demo.appspot.com/o/m%2Fx.gguf?alt=media&generation=7"

/* What is done to the answer for the piece that begins there, that many times. */
struct fault {
    int64_t from;
    int times;
    void (*change)(struct script_reply *r);
};

/* The bucket: one object, and the faults. Its handler runs without the scene's lock, in the threads of the client. */
static struct {
    pthread_mutex_t lock;
    char *bytes;
    struct listed_object listed;
    struct fetched_object object;
    struct fetch fetch;
    struct fault faults[MAX_FAULTS];
    char ranges[SCRIPT_MAX][96];
    int n_answers;
    int64_t arrived;
    int n_arrived;
} t = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct script_reply serve(void *ctx, const struct script_request *req)
{
    const char *asked = strstr(req->header_text, "Range: bytes=");
    struct script_reply r = { .status = 206 };
    long long from = 0, to = 0;

    (void)ctx;
    CHECK(asked && sscanf(asked, "Range: bytes=%lld-%lld\n", &from, &to) == 2);
    CHECK_STR(req->url, MEDIA_URL);
    (void)pthread_mutex_lock(&t.lock);
    (void)snprintf(t.ranges[t.n_answers], sizeof t.ranges[0], "bytes %lld-%lld/%d", from, to, BYTES);
    r.body = (struct span){ t.bytes + from, (size_t)(to - from + 1) };
    r.headers[0] = (struct http_header){ "content-range", t.ranges[t.n_answers++] };
    r.headers[1] = (struct http_header){ "x-goog-generation", "7" };
    for (int i = 0; i < MAX_FAULTS; i++)
        if (t.faults[i].change && t.faults[i].from == from && t.faults[i].times-- > 0) {
            t.faults[i].change(&r);
            break;
        }
    (void)pthread_mutex_unlock(&t.lock);
    return r;
}

static void arrived(void *ctx, const struct fetch_piece *p)
{
    (void)ctx;
    CHECK(p->done);
    t.arrived += p->bytes;
    t.n_arrived++;
}

static void start(void)
{
    struct memory_file *file = NULL;

    scene_start();
    scene.script.handle = serve;
    t.bytes = malloc(BYTES);
    CHECK(t.bytes);
    for (size_t i = 0; i < BYTES; i++)
        t.bytes[i] = (char)(i * 31 + (i >> 12) * 7);
    t.listed = (struct listed_object){ .object = "m/x.gguf", .name = "x.gguf", .generation = 7, .bytes = BYTES,
                                       .has_crc32c = true, .crc32c = crc32c(0, t.bytes, BYTES) };
    memset(t.faults, 0, sizeof t.faults);
    t.n_answers = t.n_arrived = 0;
    t.arrived = 0;
    CHECK_OK(memory_file_add("gs://demo/m/x.gguf", BYTES, &file, &scene.err), scene.err);
    CHECK_OK(fetched_object_init(&t.object, &t.listed, file, &scene.arena, &scene.err), scene.err);
    t.fetch = (struct fetch){ .s = &scene.storage, .budget = scene.script.budget, .arrived = arrived };
}

static void stop(void)
{
    memory_files_remove();
    scene_stop();
    free(t.bytes);
}

static enum err_code fetch_all(void)
{
    struct fetch_piece *pieces[8];

    scene.err = (struct err){ 0 };
    CHECK(t.object.n_pieces <= 8);
    for (int i = 0; i < t.object.n_pieces; i++)
        pieces[i] = &t.object.pieces[i];
    TRY(fetch_pieces(&t.fetch, pieces, t.object.n_pieces, &scene.err));
    return fetched_object_check(&t.object, &scene.storage, &scene.err);
}

static void check_bytes(void)
{
    char *got = malloc(BYTES);
    struct stat *st = calloc(1, 4096);
    int fd = -1;

    CHECK(got && st);
    CHECK_OK(file_open("gs://demo/m/x.gguf", &fd, st, &scene.err), scene.err);
    CHECK_INT(pread(fd, got, BYTES, 0), BYTES);
    CHECK(memcmp(got, t.bytes, BYTES) == 0);
    (void)close(fd);
    free(got);
    free(st);
}

TEST(object_fetch__takes_a_short_piece_and_long_ones_each_by_its_range)
{
    start();
    CHECK_INT(t.object.n_pieces, 3);
    CHECK(!fetched_object_is_whole(&t.object) && fetched_object_start(&t.object) == 0);
    CHECK_OK(fetch_all(), scene.err);
    check_bytes();
    CHECK(fetched_object_is_whole(&t.object));
    CHECK_INT(t.n_answers, 3);
    CHECK_INT(t.n_arrived, 3);
    CHECK_INT(t.arrived, BYTES);
    CHECK_INT(t.fetch.retries, 0);
    for (int i = 0; i < 3; i++)
        CHECK(script_sent_header(&scene.script, i, "Range: bytes=0-2097151") ||
              script_sent_header(&scene.script, i, "Range: bytes=2097152-35651583") ||
              script_sent_header(&scene.script, i, "Range: bytes=35651584-35663928"));
    stop();
}

TEST(object_fetch__the_beginning_is_not_fetched_again_with_the_rest)
{
    struct fetch_piece *first;

    start();
    first = &t.object.pieces[0];
    CHECK_OK(fetch_pieces(&t.fetch, &first, 1, &scene.err), scene.err);
    CHECK_INT(fetched_object_start(&t.object), FETCH_HEAD_BYTES);
    CHECK_OK(fetch_all(), scene.err);
    CHECK_INT(t.n_answers, 3);
    check_bytes();
    stop();
}

static void cut(struct script_reply *r)
{
    r->body.len /= 2;
    r->rc = ERR_UNKNOWN_OUTCOME;
}

static void cut_short(struct script_reply *r) /* too little for a try that does not count */
{
    r->body.len = 10;
    r->rc = ERR_UNKNOWN_OUTCOME;
}

static void reset(struct script_reply *r)
{
    *r = (struct script_reply){ .rc = ERR_UNKNOWN_OUTCOME };
}

static void busy(struct script_reply *r)
{
    *r = (struct script_reply){ .status = 503, .body = SPAN("busy") };
}

static void too_few(struct script_reply *r)
{
    r->body.len -= 1;
}

static void too_many(struct script_reply *r)
{
    r->body.len += 1;
}

static void everything(struct script_reply *r)
{
    r->status = 200;
    r->headers[0] = (struct http_header){ "x-goog-generation", "7" };
    r->headers[1] = (struct http_header){ 0 };
    r->body = (struct span){ t.bytes, BYTES };
}

static void another_range(struct script_reply *r)
{
    r->headers[0].value = "bytes 0-1/2";
}

static void no_range(struct script_reply *r)
{
    r->headers[0] = (struct http_header){ "x-other", "" };
}

static void encoded(struct script_reply *r)
{
    r->headers[2] = (struct http_header){ "content-encoding", "gzip" };
}

static void refresh(struct script_reply *r)
{
    *r = (struct script_reply){ .status = 401, .body = SPAN("") };
}

TEST(object_fetch__overcomes_what_passes_and_goes_on_where_it_broke_off)
{
    static const struct {
        const char *label;
        void (*change)(struct script_reply *r);
        int times, retries, answers;
    } cases[] = {
        { "cut", cut, 1, 0, 4 },            { "cut again and again", cut, 1, 0, 4 }, { "cut short", cut_short, 1, 1, 4 },
        { "reset", reset, 2, 2, 5 },        { "503", busy, 5, 5, 8 },               { "a byte less", too_few, 1, 0, 4 },
        { "a byte more", too_many, 2, 2, 5 }, { "everything", everything, 3, 3, 6 }, { "another range", another_range, 1, 1, 4 },
        { "no range", no_range, 1, 1, 4 },  { "encoded", encoded, 1, 1, 4 },        { "401", refresh, 1, 0, 4 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start();
        t.faults[0] = (struct fault){ FETCH_HEAD_BYTES, cases[i].times, cases[i].change };
        if (fetch_all())
            test_fail(__FILE__, __LINE__, "%s: %s", cases[i].label, scene.err.msg);
        check_bytes();
        if (t.fetch.retries != cases[i].retries || t.n_answers != cases[i].answers)
            test_fail(__FILE__, __LINE__, "%s: %d retries, %d answers", cases[i].label, t.fetch.retries, t.n_answers);
        stop();
    }
}

TEST(object_fetch__asks_for_the_rest_of_a_piece_that_broke_off)
{
    start();
    t.faults[0] = (struct fault){ FETCH_HEAD_BYTES, 1, cut };
    t.faults[1] = (struct fault){ FETCH_HEAD_BYTES + FETCH_PIECE_BYTES / 2, 1, cut };
    CHECK_OK(fetch_all(), scene.err);
    check_bytes();
    CHECK_INT(t.n_answers, 5);
    CHECK_INT(t.arrived, BYTES);
    stop();
}

static void gone(struct script_reply *r)
{
    *r = (struct script_reply){ .status = 404, .body = SPAN("No such object: demo/m/x.gguf") };
}

static void newer(struct script_reply *r)
{
    r->headers[1].value = "8";
}

static void beyond(struct script_reply *r)
{
    *r = (struct script_reply){ .status = 416 };
}

static void forbidden(struct script_reply *r)
{
    *r = (struct script_reply){ .status = 403, .body = SPAN("") };
}

TEST(object_fetch__says_why_an_object_cannot_be_had)
{
    static const struct {
        void (*change)(struct script_reply *r);
        enum err_code rc;
        const char *says;
    } cases[] = {
        { gone, ERR_CONFLICT, "gs://demo.appspot.com/m/x.gguf was replaced or removed while it was being fetched" },
        { newer, ERR_CONFLICT, "was replaced or removed" },
        { beyond, ERR_CONFLICT, "was replaced or removed" },
        { forbidden, ERR_DENIED, "needs roles/storage.objectViewer on the bucket 'demo.appspot.com'" },
        { refresh, ERR_DENIED, "HTTP 401" },
        { busy, ERR_UNAVAILABLE, "get gs://demo.appspot.com/m/x.gguf: HTTP 503" },
        { reset, ERR_UNAVAILABLE, "get gs://demo.appspot.com/m/x.gguf: " },
        { another_range, ERR_PROTOCOL, "does not send the part that was asked for (bytes=2097152-35651583)" },
        { everything, ERR_PROTOCOL, "does not send the part" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start();
        t.faults[0] = (struct fault){ FETCH_HEAD_BYTES, 1000, cases[i].change };
        if (fetch_all() != cases[i].rc || !strstr(scene.err.msg, cases[i].says))
            test_fail(__FILE__, __LINE__, "case %zu: %s", i, scene.err.msg);
        stop();
    }
}

TEST(object_fetch__wrong_bytes_are_noticed_wherever_they_are)
{
    static const int64_t places[] = { 0, FETCH_HEAD_BYTES - 1, FETCH_HEAD_BYTES, FETCH_HEAD_BYTES + FETCH_PIECE_BYTES,
                                      BYTES - 1 };

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        start();
        t.bytes[places[i]] ^= 1;
        CHECK_INT(fetch_all(), ERR_CORRUPT);
        CHECK(strstr(scene.err.msg, "have the CRC32C") && strstr(scene.err.msg, "upload the object again"));
        stop();
    }
}

TEST(object_fetch__a_bucket_must_say_the_checksum_an_emulator_need_not)
{
    start();
    t.listed.has_crc32c = false;
    CHECK_OK(fetch_all(), scene.err);
    scene.storage.emulator = false;
    scene.err = (struct err){ 0 };
    CHECK_INT(fetched_object_check(&t.object, &scene.storage, &scene.err), ERR_PROTOCOL);
    stop();
}

TEST(object_fetch__an_object_of_one_piece_may_come_whole)
{
    struct memory_file *file = NULL;

    start();
    t.listed.bytes = 1000;
    t.listed.crc32c = crc32c(0, t.bytes, 1000);
    CHECK_OK(memory_file_add("gs://demo/m/small", 1000, &file, &scene.err), scene.err);
    CHECK_OK(fetched_object_init(&t.object, &t.listed, file, &scene.arena, &scene.err), scene.err);
    CHECK_INT(t.object.n_pieces, 1);
    scene.script.handle = NULL;
    script_will(&scene.script, (struct script_reply){ .status = 200, .body = { t.bytes, 1000 } });
    CHECK_OK(fetch_all(), scene.err);
    t.listed.bytes = 0;
    t.listed.crc32c = 0;
    CHECK_OK(fetched_object_init(&t.object, &t.listed, file, &scene.arena, &scene.err), scene.err);
    CHECK_OK(fetch_all(), scene.err); /* an empty one is whole from the beginning on */
    CHECK(fetched_object_is_whole(&t.object));
    CHECK_INT(scene.script.n_requests, 1);
    stop();
}

static bool at_once(void *ctx)
{
    (void)ctx;
    return true;
}

TEST(object_fetch__stops_when_it_is_told_to)
{
    start();
    t.faults[0] = (struct fault){ FETCH_HEAD_BYTES, 1000, busy };
    t.fetch.budget.cancelled = at_once;
    CHECK_INT(fetch_all(), ERR_CANCELLED);
    stop();
}
