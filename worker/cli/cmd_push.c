/*
 * cmd_push - pushes messages that somebody kept to a worker again, one after the other, and prints what each answer
 * means.
 *
 * A message keeps its id, so that work that is already done is not done twice. Its time is that of this push: a worker
 * judges an old message otherwise than a fresh one, and whoever sends it again means it. Nothing that is sent as a
 * token is printed.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/base64.h"
#include "kernels/base/file.h"
#include "worker/base/crypto.h"
#include "worker/base/json.h"
#include "worker/base/names.h"
#include "worker/base/rfc3339.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/google/gauth.h"
#include "worker/job/outcome.h"
#include "worker/push/kept.h"
#include "worker/push/pubsub.h"

enum {
    ARENA_BYTES = 512 << 20, /* address space */
    SECRETS_BYTES = 1 << 20,
    TOKEN_FILE_MAX = 16 << 10,
    REPLY_MAX = 64 << 10,
    TIMEOUT_S_MAX = 3600,
    TIMEOUT_S = 600,
    RANDOM_BYTES = 12
};

struct args {
    const char *file, *url, *token_file, *audience, *message_id, *subscription;
    int timeout_s;
};

struct run {
    struct arena arena;
    struct arena secrets; /* the token; overwritten at the end */
    struct http *http;
    struct gauth *gauth;
    char *authorization; /* NULL: none */
    const char *url;
    int n_refused;
};

/* ---- where to ---- */

/* A token and a user's ids travel there, so plain HTTP is for this machine alone. */
static enum err_code check_url(const char *url, struct arena *a, const char **ret, struct err *err)
{
    const char *host = strstr(url, "://");
    size_t n;
    char *with_path;

    if (!host || url[strspn(url, "!\"#$%&'()*+,-./0123456789:;<=>?@[\\]_~"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")])
        return err_set(err, ERR_INVALID, "--url '%.200s' is not a URL: https://HOST/, or http://127.0.0.1:PORT/", url);
    host += 3;
    n = strcspn(host, "/?#");
    if (strncmp(url, "https://", 8) != 0 && !is_loopback_url(url))
        return err_set(err, ERR_INVALID, "--url '%.200s' is neither https nor http on this machine", url);
    if (n == 0 || memchr(host, '@', n))
        return err_set(err, ERR_INVALID, "--url has no host, or a user before it");
    if (host[n])
        return span_dup(a, span_of(url), (char **)ret, err);
    TRY(arena_printf(a, &with_path, err, "%s/", url));
    *ret = with_path;
    return ERR_OK;
}

/* ---- the token ---- */

static bool is_token(const char *text)
{
    size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=");

    return n > 0 && !text[n];
}

static enum err_code read_token(const char *path, struct arena *a, char **ret, struct err *err)
{
    struct span text;
    char *token;

    TRY(file_read(path, TOKEN_FILE_MAX, a, &text, err));
    while (text.len && isspace((unsigned char)text.ptr[text.len - 1]))
        text.len--;
    TRY(span_dup(a, text, &token, err));
    if (!is_token(token) || strlen(token) != text.len)
        return err_set(err, ERR_INVALID, "%s: not a token: one line of letters, digits and -._~+/=", path);
    *ret = token;
    return ERR_OK;
}

static enum err_code fetch_token(struct run *r, const char *audience, char **ret, struct err *err)
{
    const struct budget budget = { .sys = &sys_real, .deadline_mono_ms = sys_mono_ms(&sys_real) + 20000 };
    const struct gauth_options options = { .http = r->http,
                                           .sys = &sys_real,
                                           .metadata_host = getenv("GCE_METADATA_HOST") };

    TRY(gauth_open(&options, &r->gauth, err));
    if (gauth_identity(r->gauth, audience, &budget, &r->secrets, ret, err))
        return err_prefix(err, "--audience");
    return is_token(*ret) ? ERR_OK : err_set(err, ERR_PROTOCOL, "--audience: the answer is not a token");
}

static enum err_code get_authorization(struct run *r, const struct args *a, struct err *err)
{
    char *token;

    if (!a->token_file && !a->audience)
        return ERR_OK;
    if (a->token_file)
        TRY(read_token(a->token_file, &r->secrets, &token, err));
    else
        TRY(fetch_token(r, a->audience, &token, err));
    return arena_printf(&r->secrets, &r->authorization, err, "Bearer %s", token);
}

/* ---- one message ---- */

static enum err_code choose_id(const struct kept_message *m, const struct args *a, struct arena *arena,
                               const char **ret, struct err *err)
{
    unsigned char bytes[RANDOM_BYTES];
    char hex[2 * RANDOM_BYTES + 1], *made;

    *ret = a->message_id ? a->message_id : m->message_id;
    if (**ret && !pubsub_message_id_is_valid(span_of(*ret)))
        return err_set(err, ERR_INVALID,
                       "the message's id is not 1 to %d printable characters without blanks; give "
                       "another one with --message-id",
                       PUBSUB_MESSAGE_ID_MAX);
    if (**ret)
        return ERR_OK;
    sys_random(&sys_real, bytes, sizeof bytes);
    for (int i = 0; i < RANDOM_BYTES; i++)
        (void)snprintf(hex + 2 * (size_t)i, 3, "%02x", bytes[i]);
    TRY(arena_printf(arena, &made, err, "push-%s", hex));
    *ret = made;
    return ERR_OK;
}

static enum err_code wrap(const struct kept_message *m, const char *id, const char *subscription, struct arena *a,
                          char **ret, struct err *err)
{
    size_t size = BASE64_ENCODED_SIZE(m->data.len);
    struct json *root = json_new_object(a), *message;
    const struct json *attributes;
    char now[RFC3339_SIZE], *data;

    rfc3339_format(sys_wall_us(&sys_real), now);
    TRY(arena_alloc(a, size, 1, &data, err));
    TRY(base64_encode(m->data, BASE64_STANDARD, data, size, NULL, err));
    TRY(json_parse(a, m->attributes, PUBSUB_DEPTH_MAX, &attributes, err));
    message = json_add_object(root, "message");
    json_add_copy(message, "attributes", attributes);
    json_add_string(message, "data", data);
    json_add_string(message, "messageId", id);
    json_add_string(message, "message_id", id);
    json_add_string(message, "publishTime", now);
    json_add_string(message, "publish_time", now);
    if (*subscription)
        json_add_string(root, "subscription", subscription);
    return json_print(a, root, ret, err);
}

static enum err_code send(const struct run *r, const char *body, int64_t timeout_ms, struct arena *a, int *ret_status,
                          struct err *err)
{
    struct http_request req = { .method = "POST",
                                .url = r->url,
                                .body = span_of(body),
                                .timeout_ms = timeout_ms,
                                .max_reply_bytes = REPLY_MAX,
                                .allow_plain = true /* check_url has looked */ };
    struct http_reply reply;

    http_request_header(&req, "Content-Type", "application/json");
    if (r->authorization)
        http_request_header(&req, "Authorization", r->authorization);
    TRY(http_send(r->http, &req, a, &reply, err));
    *ret_status = reply.status;
    return ERR_OK;
}

/* ---- what an answer means ---- */

static bool is_ack(int status) /* PROTOCOL.md 1.5 */
{
    return status == 102 || status == 200 || status == 201 || status == 202 || status == 204;
}

static const char *meaning(int status)
{
    static const struct {
        int status;
        const char *words;
    } table[] = {
        { 204, "acknowledged: it is done, was done before, or can never be done; the worker's log says which" },
        { 400, "refused: it can never be a job, and POISON=nack leaves it to the dead-letter policy" },
        { 401, "refused: there is no token, or it is not valid; --token-file or --audience gives one" },
        { 403, "refused: the token is good, but not of an account that PUSH_SERVICE_ACCOUNT names" },
        { 404, "not taken: there is no such session yet, or the path of the URL is neither / nor /inpaint" },
        { 405, "not taken: the URL is not one for pushes" },
        { 408, "not taken: the body took too long" },
        { 409, "not taken: the message or its session is being worked on at this moment" },
        { 429, "not taken: too many pushes wait already; send it again later" },
        { 500, "given back: the worker has failed; its log says why" },
        { 503, "not taken, or given back: the worker loads its model, is stopping, or lacks a service that it needs; "
               "send it "
               "again later" },
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].status == status)
            return table[i].words;
    return is_ack(status) ? "acknowledged, but not by this worker: it answers 204 alone"
                          : "not an answer of this worker: is the URL right?";
}

/* The names in worker/job/outcome.h that the answer may stand for. */
static void print_outcomes(int status)
{
    const char *last = NULL;

    for (int i = OUTCOME_OPEN + 1; i < OUTCOMES; i++) {
        const struct outcome_info *o = outcome_info((enum outcome)i);

        if (o->http_status != status || !o->name || (last && strcmp(o->name, last) == 0))
            continue;
        (void)printf("%s%s", last ? ", " : " (its outcome is one of: ", o->name);
        last = o->name;
    }
    if (last)
        (void)printf(")");
}

static void print_answer(const char *id, int status, bool has_subscription)
{
    (void)printf("%s: %d, %s", id, status, meaning(status));
    print_outcomes(status);
    if (!has_subscription)
        (void)printf("; it was sent without a subscription, so a worker with PUBSUB_SUBSCRIPTION takes it for poison: "
                     "--subscription gives one");
    (void)printf("\n");
    (void)fflush(stdout);
}

/* ---- the command ---- */

static enum err_code push_one(struct run *r, const struct args *a, const struct kept_message *m, struct err *err)
{
    ARENA_SCRATCH(&r->arena);
    const char *id, *subscription = a->subscription ? a->subscription : m->subscription;
    char *body;
    int status;

    TRY(choose_id(m, a, &r->arena, &id, err));
    TRY(wrap(m, id, subscription, &r->arena, &body, err));
    if (send(r, body, (int64_t)a->timeout_s * 1000, &r->arena, &status, err))
        return err_prefix(err, "%.60s: no answer", id);
    print_answer(id, status, *subscription);
    r->n_refused += !is_ack(status);
    return ERR_OK;
}

static enum err_code read_input(const char *path, struct arena *a, struct span *ret, struct err *err)
{
    char *buf;
    size_t n;

    if (strcmp(path, "-") != 0)
        return file_read(path, KEPT_TEXT_MAX, a, ret, err);
    TRY(arena_alloc(a, KEPT_TEXT_MAX + 2, 1, &buf, err));
    n = fread(buf, 1, KEPT_TEXT_MAX + 1, stdin);
    if (ferror(stdin))
        return err_set(err, ERR_IO, "standard input cannot be read");
    *ret = (struct span){ buf, n };
    return ERR_OK;
}

static enum err_code push(struct run *r, const struct args *a, struct err *err)
{
    const struct kept_message *messages;
    struct span text;
    int n;

    TRY(arena_init(&r->arena, ARENA_BYTES, err));
    TRY(arena_init(&r->secrets, SECRETS_BYTES, err));
    TRY(check_url(a->url, &r->arena, &r->url, err));
    TRY(read_input(a->file, &r->arena, &text, err));
    if (kept_parse(text, &r->arena, &messages, &n, err))
        return err_prefix(err, "%s", a->file);
    if (n > 1 && a->message_id)
        return err_set(err, ERR_INVALID, "--message-id is for one message, and %s has %d", a->file, n);
    TRY(http_client_open(&r->http, err));
    TRY(get_authorization(r, a, err));
    for (int i = 0; i < n; i++)
        TRY(push_one(r, a, &messages[i], err));
    if (r->n_refused)
        return err_set(err, ERR_UNAVAILABLE, "%d of %d messages were not acknowledged", r->n_refused, n);
    return ERR_OK;
}

static void close_run(struct run *r)
{
    gauth_close(r->gauth);
    http_client_close(r->http);
    if (r->secrets.base)
        crypto_clear(r->secrets.base, r->secrets.used);
    arena_done(&r->secrets);
    arena_done(&r->arena);
}

int cmd_push(int argc, char **argv)
{
    struct args a = { .timeout_s = TIMEOUT_S };
    const struct cli_option options[] = {
        { "FILE", CLI_TEXT, &a.file, NULL, .required = true,
          .help = "the messages, -: from standard input: envelopes, pulled messages, lines of the worker's log, or "
                  "payloads" },
        { "--url", CLI_TEXT, &a.url, "URL", .help = "the worker: https, or http on this machine", .required = true },
        { "--token-file", CLI_TEXT, &a.token_file, "FILE", .help = "file with the token of the push" },
        { "--audience", CLI_TEXT, &a.audience, "TEXT",
          .help = "take the token from the metadata server, for this audience" },
        { "--message-id", CLI_TEXT, &a.message_id, "ID", .help = "id of the message; default: its own, or a new one" },
        { "--subscription", CLI_TEXT, &a.subscription, "NAME",
          .help = "projects/PROJECT/subscriptions/NAME; default: that of the kept message" },
        { "--timeout", CLI_INT, &a.timeout_s, "SECONDS", .help = "how long to wait for an answer; default 600",
          .min = 1, .max = TIMEOUT_S_MAX },
    };
    const struct cli_command command = { "push",
                                         "pushes kept messages to a worker again, and says what the answers mean",
                                         options, .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);
    struct run r = { 0 };
    struct err err = { 0 };

    if (status != CLI_RUN)
        return status;
    if (a.token_file && a.audience)
        return cli_misused(&command, "--token-file and --audience exclude each other");
    status = push(&r, &a, &err) ? cli_fail(&command, &err) : CLI_DONE;
    close_run(&r);
    return status;
}
