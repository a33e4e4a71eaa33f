/*
 * cmd_push - pushes messages to a worker, one after the other, and prints what each answer means: those that somebody
 * kept, or one about a session.
 *
 * A kept message keeps its id, so that work that is already done is not done twice. Its time is that of this push: a
 * worker judges an old message otherwise than a fresh one, and whoever sends it again means it. Nothing that is sent as
 * a token is printed.
 */
#include <stdio.h>
#include <string.h>

#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/push/kept.h"
#include "worker/push/pubsub.h"
#include "worker/remote/answer.h"
#include "worker/remote/message.h"
#include "worker/remote/remote.h"

enum { REPLY_MAX = 64 << 10, TIMEOUT_S_MAX = 3600, TIMEOUT_S = 600 };

struct args {
    const char *file, *user, *session, *url, *token_file, *audience, *message_id, *subscription;
    int timeout_s;
};

struct run {
    struct remote remote;
    const char *url;
    int n_refused;
};

/* ---- one message ---- */

static enum err_code choose_id(const struct kept_message *m, const struct args *a, struct arena *arena,
                               const char **ret, struct err *err)
{
    *ret = a->message_id ? a->message_id : m->message_id;
    if (**ret && !pubsub_message_id_is_valid(span_of(*ret)))
        return err_set(err, ERR_INVALID,
                       "the message's id is not 1 to %d printable characters without blanks; give "
                       "another one with --message-id",
                       PUBSUB_MESSAGE_ID_MAX);
    return **ret ? ERR_OK : message_new_id("push-", &sys_real, arena, ret, err);
}

static enum err_code send(const struct run *r, const char *body, int64_t timeout_ms, struct arena *a,
                          struct http_reply *ret, struct err *err)
{
    struct http_request req = { .method = "POST",
                                .url = r->url,
                                .body = span_of(body),
                                .timeout_ms = timeout_ms,
                                .max_reply_bytes = REPLY_MAX,
                                .allow_plain = true /* remote_check_url has looked */ };

    http_request_header(&req, "Content-Type", "application/json");
    if (r->remote.authorization)
        http_request_header(&req, "Authorization", r->remote.authorization);
    return http_send(r->remote.http, &req, a, ret, err);
}

static void print_answer(const char *id, const struct http_reply *reply, bool has_subscription)
{
    const struct answer answer = answer_judge(reply);

    (void)printf("%s: %d, %s", id, reply->status, answer.words);
    if (answer.by == ANSWER_BY_WORKER)
        answer_print_outcomes(reply->status);
    if (!has_subscription)
        (void)printf("; it was sent without a subscription, so a worker with PUBSUB_SUBSCRIPTION takes it for poison: "
                     "--subscription gives one");
    (void)printf("\n");
    (void)fflush(stdout);
}

static enum err_code push_one(struct run *r, const struct args *a, const struct kept_message *m, struct err *err)
{
    ARENA_SCRATCH(&r->remote.arena);
    struct message message = { .data = m->data,
                               .attributes = m->attributes,
                               .published_us = sys_wall_us(&sys_real),
                               .subscription = a->subscription ? a->subscription : m->subscription };
    struct http_reply reply;
    char *body;

    TRY(choose_id(m, a, &r->remote.arena, &message.id, err));
    TRY(message_wrap(&message, &r->remote.arena, &body, err));
    if (send(r, body, (int64_t)a->timeout_s * 1000, &r->remote.arena, &reply, err))
        return err_prefix(err, "%.60s: no answer", message.id);
    print_answer(message.id, &reply, *message.subscription);
    r->n_refused += !answer_is_ack(reply.status);
    return ERR_OK;
}

/* ---- the command ---- */

static enum err_code read_messages(struct run *r, const struct args *a, const struct kept_message **ret, int *ret_n,
                                   struct err *err)
{
    struct kept_message *one;
    struct span text;
    char *payload;

    if (a->file) {
        TRY(remote_read_text(a->file, KEPT_TEXT_MAX, &r->remote.arena, &text, err));
        return kept_parse(text, &r->remote.arena, ret, ret_n, err) ? err_prefix(err, "%s", a->file) : ERR_OK;
    }
    TRY(message_payload(a->user, a->session, &r->remote.arena, &payload, err));
    TRY(arena_alloc(&r->remote.arena, 1, sizeof *one, &one, err));
    *one = (struct kept_message){ "", span_of(payload), SPAN("{}"), "" };
    *ret = one;
    *ret_n = 1;
    return ERR_OK;
}

static enum err_code push(struct run *r, const struct args *a, struct err *err)
{
    const struct kept_message *messages;
    int n;

    TRY(remote_open(&r->remote, err));
    TRY(remote_check_url("--url", a->url, &r->remote.arena, &r->url, err));
    TRY(read_messages(r, a, &messages, &n, err));
    if (n > 1 && a->message_id)
        return err_set(err, ERR_INVALID, "--message-id is for one message, and %s has %d", a->file, n);
    TRY(remote_authorize(&r->remote, a->token_file, a->audience, err));
    for (int i = 0; i < n; i++)
        TRY(push_one(r, a, &messages[i], err));
    if (r->n_refused)
        return err_set(err, ERR_UNAVAILABLE, "%d of %d messages were not acknowledged", r->n_refused, n);
    return ERR_OK;
}

/* What of the arguments does not go together; NULL: all does. */
static const char *misuse(const struct args *a)
{
    if (!a->user != !a->session)
        return "--user and --session belong together";
    if (!a->file == !a->session)
        return "give either FILE, the messages, or --user and --session, a session";
    if (a->token_file && a->audience)
        return "--token-file and --audience exclude each other";
    if (a->file && a->token_file && strcmp(a->file, "-") == 0 && strcmp(a->token_file, "-") == 0)
        return "FILE and --token-file cannot both be standard input";
    return NULL;
}

int cmd_push(int argc, char **argv)
{
    struct args a = { .timeout_s = TIMEOUT_S };
    const struct cli_option options[] = {
        { "FILE", CLI_TEXT, &a.file, NULL,
          .help = "the messages, -: from standard input: envelopes, pulled messages, lines of the worker's log, or "
                  "payloads" },
        { "--user", CLI_TEXT, &a.user, "ID",
          .help = "instead of FILE, with --session: a new message for this session" },
        { "--session", CLI_TEXT, &a.session, "ID", .help = "the session of that user" },
        { "--url", CLI_TEXT, &a.url, "URL", .help = "the worker: https, or http on this machine", .required = true },
        { "--token-file", CLI_TEXT, &a.token_file, "FILE",
          .help = "file with the token of the push, -: from standard input" },
        { "--audience", CLI_TEXT, &a.audience, "TEXT",
          .help = "take the token from the metadata server, for this audience" },
        { "--message-id", CLI_TEXT, &a.message_id, "ID", .help = "id of the message; default: its own, or a new one" },
        { "--subscription", CLI_TEXT, &a.subscription, "NAME",
          .help = "projects/PROJECT/subscriptions/NAME; default: that of the kept message" },
        { "--timeout", CLI_INT, &a.timeout_s, "SECONDS", .help = "how long to wait for an answer; default 600",
          .min = 1, .max = TIMEOUT_S_MAX },
    };
    const struct cli_command command = {
        "push", "pushes kept messages, or one for a session, to a worker, and says what the answers mean", options,
        .n_options = CLI_COUNT(options),
        .example = "inpaint-worker push --user U --session S --url https://SERVICE/inpaint --token-file TOKEN"
    };
    int status = cli_parse(&command, argc, argv);
    const char *wrong = status == CLI_RUN ? misuse(&a) : NULL;
    struct run r = { 0 };
    struct err err = { 0 };

    if (status != CLI_RUN)
        return status;
    if (wrong)
        return cli_misused(&command, "%s", wrong);
    status = push(&r, &a, &err) ? cli_fail(&command, &err) : CLI_DONE;
    remote_close(&r.remote);
    return status;
}
