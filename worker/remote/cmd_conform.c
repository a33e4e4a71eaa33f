/*
 * cmd_conform - drives a running worker, on Cloud Run or on this machine, through its contract (PROTOCOL.md 1 and 2),
 * and reports what it keeps.
 *
 * It is safe against a service at work. No session is touched but the one that --user and --session name; all other
 * pushes are about sessions that do not exist, or can be none. What reaches the worker's log is marked
 * (conform_check.h). Pushes that write lines of severity ERROR, which may wake somebody, are sent with --poison alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/file.h"
#include "kernels/base/out_file.h"
#include "worker/base/names.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/remote/conform.h"
#include "worker/remote/message.h"
#include "worker/remote/remote.h"

enum { TIMEOUT_S = 600, TIMEOUT_S_MAX = 3600 };

struct args {
    const char *url, *token_file, *audience, *user, *session, *subscription, *json, *version;
    struct cli_texts headers;
    int timeout_s;
    bool poison;
};

struct run {
    struct remote remote;
    struct conform conform;
    struct conform_report report;
};

/* ---- the arguments ---- */

/* https://HOST, without what may stand behind it. */
static enum err_code read_base(struct run *r, const char *url, struct err *err)
{
    const char *whole, *path;
    char *base;

    TRY(remote_check_url("URL", url, &r->remote.arena, &whole, err));
    path = strstr(whole, "://") + 3;
    path += strcspn(path, "/?#");
    if (strcmp(path, "/") != 0 && strcmp(path, "/inpaint") != 0 && strcmp(path, "/inpaint/") != 0)
        return err_set(err, ERR_INVALID,
                       "URL '%.200s' has a path: give the service's address alone, as in https://SERVICE-xyz.a.run.app",
                       url);
    TRY(span_dup(&r->remote.arena, (struct span){ whole, (size_t)(path - whole) }, &base, err));
    r->conform.base = base;
    return ERR_OK;
}

/* Arguments can be seen by other users of the machine, so no header that is a credential may be one. */
static enum err_code check_header_name(const char *name, struct err *err)
{
    static const char *const refused[] = { "authorization",
                                           "proxy-authorization",
                                           "x-serverless-authorization",
                                           "cookie",
                                           "host",
                                           "content-length",
                                           "transfer-encoding",
                                           "content-type",
                                           "connection",
                                           "user-agent",
                                           "expect" };

    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (strcasecmp(name, refused[i]) == 0)
            return err_set(err, ERR_INVALID, "--header: %s is none that can be given%s", name,
                           i < 4 ? ": an argument is no place for a credential; --token-file reads a token" : "");
    return ERR_OK;
}

static enum err_code read_header(struct run *r, const char *text, struct err *err)
{
    static const char name_characters[] = "!#$%&'*+-.^_`|~0123456789"
                                          "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t n = strspn(text, name_characters);
    const char *value = text + n + (text[n] == ':');
    char *name;

    if (n == 0 || text[n] != ':' || strpbrk(text, "\r\n"))
        return err_set(err, ERR_INVALID, "--header number %d is not NAME: VALUE in one line", r->conform.n_headers + 1);
    TRY(span_dup(&r->remote.arena, (struct span){ text, n }, &name, err));
    TRY(check_header_name(name, err));
    r->conform.headers[r->conform.n_headers++] = (struct http_header){ name, value + strspn(value, " \t") };
    return ERR_OK;
}

static enum err_code check_names(struct run *r, const struct args *a, struct err *err)
{
    char *payload;

    if (a->subscription && !subscription_name_is_valid(a->subscription))
        return err_set(err, ERR_INVALID, "--subscription '%.100s' is not projects/PROJECT/subscriptions/NAME",
                       a->subscription);
    return a->session ? message_payload(a->user, a->session, &r->remote.arena, &payload, err) : ERR_OK;
}

/* ---- the command ---- */

static void say(const char *line)
{
    (void)fprintf(stderr, "inpaint-worker conform: %s\n", line);
}

static enum err_code write_json(struct run *r, const char *path, struct err *err)
{
    struct span text;

    TRY(conform_report_json(&r->report, &r->conform, &r->remote.arena, &text, err));
    if (strcmp(path, "-") != 0)
        return file_write(path, text, err);
    return fwrite(text.ptr, 1, text.len, stdout) == text.len && fflush(stdout) == 0
               ? ERR_OK
               : err_set(err, ERR_IO, "standard output cannot be written");
}

/* That it can be written is found out before the checks, which may take minutes. */
static enum err_code check_json(const char *path, struct err *err)
{
    struct out_file *f;

    if (!path || strcmp(path, "-") == 0)
        return ERR_OK;
    TRY(out_file_open(&f, path, err));
    return out_file_close(f, OUT_FILE_DISCARD, err);
}

static enum err_code open_run(struct run *r, const struct args *a, struct err *err)
{
    TRY(remote_open(&r->remote, err));
    r->conform = (struct conform){ .http = r->remote.http,
                                   .sys = &sys_real,
                                   .arena = &r->remote.arena,
                                   .user = a->user,
                                   .session = a->session,
                                   .subscription = a->subscription ? a->subscription : "",
                                   .expected_version = a->version,
                                   .poison = a->poison,
                                   .timeout_ms = (int64_t)a->timeout_s * 1000,
                                   .say = say };
    r->report.to = a->json && strcmp(a->json, "-") == 0 ? NULL : stdout;
    TRY(read_base(r, a->url, err));
    TRY(check_json(a->json, err));
    for (int i = 0; i < a->headers.n; i++)
        TRY(read_header(r, a->headers.items[i], err));
    TRY(check_names(r, a, err));
    TRY(remote_authorize(&r->remote, a->token_file, a->audience, err));
    r->conform.authorization = r->remote.authorization;
    return ERR_OK;
}

static enum err_code conform(struct run *r, const struct args *a, struct err *err)
{
    TRY(open_run(r, a, err));
    conform_run(&r->conform, &r->report);
    if (a->json)
        TRY(write_json(r, a->json, err));
    if (r->report.n[CONFORM_FAILED])
        return err_set(err, ERR_PROTOCOL, "%d of %d checks failed", r->report.n[CONFORM_FAILED], r->report.n_rows);
    return ERR_OK;
}

static const char *misuse(const struct args *a)
{
    const bool has_token = a->token_file || a->audience;

    if (!a->user != !a->session)
        return "--user and --session belong together";
    if (a->token_file && a->audience)
        return "--token-file and --audience exclude each other";
    if (!has_token && (a->session || a->poison))
        return "--session and --poison need a token: --token-file or --audience";
    return NULL;
}

#define EXAMPLE                                                                                                        \
    "gcloud auth print-identity-token --impersonate-service-account PUSH-ACCOUNT --audiences URL/inpaint \\\n"         \
    "    --include-email | inpaint-worker conform URL --token-file -\n\n"                                              \
    "No session is touched but the one of --session. The checks leave lines of severity WARNING in the worker's log\n" \
    "(push refused; the session was not found), with --poison also of severity ERROR, and, where it is set, "          \
    "messages\n"                                                                                                       \
    "in POISON_TOPIC. Their marks: message ids that begin with " CONFORM_PREFIX ", the attribute " CONFORM_ATTRIBUTE   \
    "=1, and in\n"                                                                                                     \
    "Cloud Run's log of requests the User-Agent " CONFORM_AGENT "."

int cmd_conform(int argc, char **argv)
{
    struct args a = { .timeout_s = TIMEOUT_S };
    const struct cli_option options[] = {
        { "URL", CLI_TEXT, &a.url, NULL, .help = "the worker's address: https, or http on this machine",
          .required = true },
        { "--token-file", CLI_TEXT, &a.token_file, "FILE",
          .help = "file with an identity token of a service account that may push, -: from standard input; without it "
                  "only what needs no token is checked" },
        { "--audience", CLI_TEXT, &a.audience, "TEXT",
          .help = "take the token from the metadata server, for this audience" },
        { "--user", CLI_TEXT, &a.user, "ID", .help = "with --session: run one real job of this user's session" },
        { "--session", CLI_TEXT, &a.session, "ID",
          .help = "the session, whose pictures are there and whose status is pending" },
        { "--subscription", CLI_TEXT, &a.subscription, "NAME",
          .help = "projects/PROJECT/subscriptions/NAME, for a worker with PUBSUB_SUBSCRIPTION, which takes all others "
                  "for poison" },
        { "--poison", CLI_FLAG, &a.poison,
          .help =
              "also send pushes that can never be a job; each writes a line of severity ERROR into the worker's log" },
        { "--expect-version", CLI_TEXT, &a.version, "TEXT", .help = "a part of the version that GET / must name" },
        { "--timeout", CLI_INT, &a.timeout_s, "SECONDS",
          .help = "how long to wait for the first answer, until it is ready, and for the job; default 600", .min = 1,
          .max = TIMEOUT_S_MAX },
        { "--header", CLI_TEXTS, &a.headers, "NAME: VALUE", .help = "of every request; may be given 8 times" },
        { "--json", CLI_TEXT, &a.json, "FILE",
          .help = "the report as JSON; -: on standard output, instead of the lines" },
    };
    const struct cli_command command = { "conform",
                                         "drives a running worker through its contract, and reports what it keeps",
                                         options, .n_options = CLI_COUNT(options), .example = EXAMPLE };
    int status = cli_parse(&command, argc, argv);
    const char *wrong = status == CLI_RUN ? misuse(&a) : NULL;
    struct run run = { 0 };
    struct err err = { 0 };

    if (status != CLI_RUN)
        return status;
    if (wrong)
        return cli_misused(&command, "%s", wrong);
    status = conform(&run, &a, &err) ? cli_fail(&command, &err) : CLI_DONE;
    remote_close(&run.remote);
    return status;
}
