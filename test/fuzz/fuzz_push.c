/*
 * fuzz_push - any bytes as a push: as the body of each form, as the job itself, as messages that somebody kept.
 *
 * Bytes that begin with "@" have headers of their own: lines "name: value" up to an empty one, then the body.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/push/job.h"
#include "worker/push/kept.h"
#include "worker/push/printable.h"
#include "worker/push/push_form.h"

enum { HEADERS_MAX = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void push(const struct push_header *headers, int n, struct span body, struct arena *a)
{
    const struct push_request req = { headers, n, body };
    const struct arena_mark mark = arena_mark(a);
    struct push_message msg;
    struct job job;

    if (!push_parse(&req, a, &msg, NULL)) {
        if (!*msg.message_id || !msg.data.len || !msg.published.len)
            abort();
        (void)!job_parse(msg.data, &job, NULL);
    }
    (void)!push_parse_headers(&req, a, &msg, NULL);
    arena_rewind(a, mark);
}

/* Every byte must come back. */
static void print(struct span bytes, struct arena *a)
{
    struct span back;
    char *text;

    if (printable_escape(bytes, a, &text, NULL) || printable_unescape(span_of(text), a, &back, NULL))
        return; /* no memory */
    if (!span_eq(back, bytes))
        abort();
}

static void push_with_own_headers(char *text, struct arena *a)
{
    struct push_header headers[HEADERS_MAX];
    int n = 0;

    for (text++; *text && *text != '\n' && n < HEADERS_MAX;) {
        char *end = text + strcspn(text, "\n"), *colon = text + strcspn(text, ":\n");
        bool more = *end;

        if (*colon != ':')
            return;
        *colon = *end = 0;
        headers[n++] = (struct push_header){ text, colon + 1 + (colon[1] == ' ') };
        text = end + more;
    }
    push(headers, n, span_of(*text ? text + 1 : text), a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct push_header unwrapped = { "x-goog-pubsub-message-id", "1" };
    static const struct push_header structured = { "content-type", "application/cloudevents+json" };
    static const struct push_header binary = { "ce-id", "1" };
    struct span all = { (const char *)data, size };
    const struct kept_message *kept;
    struct arena a = { 0 };
    struct job job;
    char *text;
    int n;

    if (arena_init(&a, 64 << 20, NULL))
        abort();
    push(NULL, 0, all, &a);
    push(&unwrapped, 1, all, &a);
    push(&structured, 1, all, &a);
    push(&binary, 1, all, &a);
    if (size && *data == '@' && !span_dup(&a, all, &text, NULL))
        push_with_own_headers(text, &a);
    print(all, &a);
    (void)!job_parse(all, &job, NULL);
    (void)!kept_parse(all, &a, &kept, &n, NULL);
    arena_done(&a);
    return 0;
}
