/*
 * cmd_publish - publishes messages about sessions to a topic of Pub/Sub, as the app does, and prints their ids.
 *
 * A session is given by its ids, or many of them in a file, one object of JSON a line. All lines are checked by the
 * worker's own rules before the first is published, since what the worker would refuse is poison. A message goes out a
 * second time where an answer was lost, which does no harm: the worker does its work once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/names.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/cli/progress.h"
#include "worker/google/access.h"
#include "worker/google/publish.h"
#include "worker/push/job.h"
#include "worker/push/printable.h"
#include "worker/remote/message.h"
#include "worker/remote/remote.h"

enum { FILE_MAX = 16 << 20, LINE_MAX_NUMBER = 999999, SESSIONS_MAX = 10000, SEND_MS = 60000 };

struct args {
    const char *topic, *user, *session, *file;
    struct cli_texts attributes;
    int from;
    bool check;
};

struct line {
    struct span data;
    int number; /* in the file, from 1 */
};

struct run {
    struct remote remote;
    struct publisher publisher;
    struct publish_attribute attributes[CLI_MAX_TEXTS];
    int n_attributes;
    struct line *lines;
    int n_lines;
    struct progress progress;
};

/* ---- the arguments ---- */

static enum err_code read_attribute(struct run *r, const char *text, struct err *err)
{
    const char *equals = strchr(text, '=');
    size_t n = equals ? (size_t)(equals - text) : 0;
    char *key;

    if (n == 0 || n > PUBLISH_KEY_MAX || strlen(equals + 1) > PUBLISH_VALUE_MAX)
        return err_set(err, ERR_INVALID,
                       "--attribute '%.100s' is not KEY=VALUE with a key of 1 to %d and a value of at most %d bytes",
                       text, PUBLISH_KEY_MAX, PUBLISH_VALUE_MAX);
    if (strncmp(text, "goog", 4) == 0)
        return err_set(err, ERR_INVALID, "--attribute '%.100s': Pub/Sub keeps keys that begin with goog for itself",
                       text);
    TRY(span_dup(&r->remote.arena, (struct span){ text, n }, &key, err));
    r->attributes[r->n_attributes++] = (struct publish_attribute){ key, equals + 1 };
    return ERR_OK;
}

static enum err_code read_line(struct run *r, const struct args *a, struct span text, int number, struct err *err)
{
    struct job job;

    text = span_trimmed(text);
    if (text.len == 0 || number < a->from)
        return ERR_OK;
    if (r->n_lines == SESSIONS_MAX)
        return err_set(err, ERR_TOO_LARGE, "%s has more than %d sessions: split it", a->file, SESSIONS_MAX);
    if (job_parse(text, &job, err))
        return err_prefix(err, "%s, line %d", a->file, number);
    r->lines[r->n_lines++] = (struct line){ text, number };
    return ERR_OK;
}

static enum err_code read_file(struct run *r, const struct args *a, struct err *err)
{
    struct span rest;
    int number = 0;

    TRY(remote_read_text(a->file, FILE_MAX, &r->remote.arena, &rest, err));
    if (rest.len > FILE_MAX)
        return err_set(err, ERR_TOO_LARGE, "%s has more than %d MiB: split it", a->file, FILE_MAX >> 20);
    while (rest.len > 0) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        size_t n = end ? (size_t)(end - rest.ptr) : rest.len;

        TRY(read_line(r, a, (struct span){ rest.ptr, n }, ++number, err));
        n += end != NULL;
        rest = (struct span){ rest.ptr + n, rest.len - n };
    }
    return r->n_lines ? ERR_OK
                      : err_set(err, ERR_INVALID,
                                "%s has no session from line %d on: one {\"userId\":...,"
                                "\"sessionId\":...} a line",
                                a->file, a->from);
}

static enum err_code read_sessions(struct run *r, const struct args *a, struct err *err)
{
    char *payload;

    TRY(arena_alloc(&r->remote.arena, SESSIONS_MAX, sizeof *r->lines, &r->lines, err));
    if (a->file)
        return read_file(r, a, err);
    if (!a->session)
        return ERR_OK;
    TRY(message_payload(a->user, a->session, &r->remote.arena, &payload, err));
    r->lines[r->n_lines++] = (struct line){ span_of(payload), 1 };
    return ERR_OK;
}

/* ---- the topic ---- */

static enum err_code open_topic(struct run *r, const char *topic, struct err *err)
{
    const char *emulator = getenv("PUBSUB_EMULATOR_HOST");
    const struct gauth_options options = { .http = r->remote.http,
                                           .sys = &sys_real,
                                           .emulator = { [GAUTH_PUBSUB] = emulator && *emulator },
                                           .uses_pubsub = true,
                                           .firebase_credentials = getenv("FIREBASE_CREDENTIALS"),
                                           .credentials_file = getenv("GOOGLE_APPLICATION_CREDENTIALS"),
                                           .project = getenv("GOOGLE_CLOUD_PROJECT"),
                                           .metadata_host = getenv("GCE_METADATA_HOST") };
    struct publisher_options publisher = {
        .http = r->remote.http, .topic = topic, .emulator_host = emulator, .setting = "--topic"
    };

    if (!topic_name_is_valid(topic))
        return err_set(err, ERR_INVALID, "--topic '%.100s' is not projects/PROJECT/topics/NAME", topic);
    TRY(gauth_open(&options, &r->remote.gauth, err));
    publisher.gauth = r->remote.gauth;
    return publisher_init(&r->publisher, &publisher, &r->remote.arena, err);
}

/* Whether we may publish; nothing is sent that a subscriber would see. */
static enum err_code check_topic(struct run *r, const char *topic, struct err *err)
{
    const struct budget budget = { .sys = &sys_real, .deadline_mono_ms = sys_mono_ms(&sys_real) + SEND_MS };
    const char *project = topic + strlen("projects/");
    struct access access = { .http = r->remote.http, .gauth = r->remote.gauth };
    struct access_answer answer;
    char *name;

    TRY(span_dup(&r->remote.arena, (struct span){ project, strcspn(project, "/") }, &name, err));
    access.project = name;
    access_topic(&access, &r->publisher, &budget, &r->remote.arena, &answer);
    if (answer.verdict != ACCESS_GRANTED)
        return err_set(err, answer.verdict == ACCESS_REFUSED ? ERR_DENIED : ERR_UNAVAILABLE, "%s; %s", answer.reason,
                       answer.remedy);
    (void)printf("%s: we may publish%s\n", topic, r->publisher.emulator ? ", as far as an emulator can tell" : "");
    return ERR_OK;
}

/* ---- the messages ---- */

static enum err_code publish_one(struct run *r, const struct line *line, struct err *err)
{
    ARENA_SCRATCH(&r->remote.arena);
    const struct budget budget = { .sys = &sys_real, .deadline_mono_ms = sys_mono_ms(&sys_real) + SEND_MS };
    const struct publish_message message = { line->data, r->attributes, r->n_attributes };
    struct job job;
    const char *id;
    char *document, *shown;

    TRY(job_parse(line->data, &job, err));
    TRY(publisher_send(&r->publisher, &message, &budget, &r->remote.arena, &id, err));
    TRY(printable_text(job.document, &r->remote.arena, &document, err));
    TRY(printable_text(id, &r->remote.arena, &shown, err));
    (void)printf("%s %s\n", shown, document);
    return ERR_OK;
}

static enum err_code publish_all(struct run *r, const struct args *a, struct err *err)
{
    for (int i = 0; i < r->n_lines; i++) {
        if (publish_one(r, &r->lines[i], err)) {
            progress_done(&r->progress);
            return a->file ? err_prefix(err, "%d of %d were published; go on with --from %d", i, r->n_lines,
                                        r->lines[i].number)
                           : err->code;
        }
        if (a->file)
            progress_show(&r->progress, "publish", "messages", i + 1, r->n_lines);
    }
    (void)fflush(stdout);
    return ERR_OK;
}

static enum err_code publish(struct run *r, const struct args *a, struct err *err)
{
    progress_init_stderr(&r->progress);
    TRY(remote_open(&r->remote, err));
    for (int i = 0; i < a->attributes.n; i++)
        TRY(read_attribute(r, a->attributes.items[i], err));
    TRY(read_sessions(r, a, err));
    TRY(open_topic(r, a->topic, err));
    if (a->check)
        TRY(check_topic(r, a->topic, err));
    return publish_all(r, a, err);
}

static const char *misuse(const struct args *a)
{
    if (!a->user != !a->session)
        return "--user and --session belong together";
    if (a->from > 1 && !a->file)
        return "--from is for --file";
    if (a->file && a->session)
        return "--file and --session exclude each other";
    if (!a->file && !a->session && !a->check)
        return "give --user and --session, or --file, or --check alone";
    return NULL;
}

int cmd_publish(int argc, char **argv)
{
    struct args a = { .from = 1 };
    const struct cli_option options[] = {
        { "--topic", CLI_TEXT, &a.topic, "NAME", .help = "projects/PROJECT/topics/NAME", .required = true },
        { "--user", CLI_TEXT, &a.user, "ID", .help = "the user whose session it is" },
        { "--session", CLI_TEXT, &a.session, "ID", .help = "the session" },
        { "--file", CLI_TEXT, &a.file, "FILE",
          .help =
              "many sessions, one {\"userId\":...,\"sessionId\":...} a line, at most 10000; -: from standard input" },
        { "--from", CLI_INT, &a.from, "LINE", .help = "the first line of the file that counts; default 1", .min = 1,
          .max = LINE_MAX_NUMBER },
        { "--attribute", CLI_TEXTS, &a.attributes, "KEY=VALUE", .help = "of every message; may be given 8 times" },
        { "--check", CLI_FLAG, &a.check,
          .help = "first ask whether the topic is there and we may publish; alone: publish nothing" },
    };
    const struct cli_command command = {
        "publish", "publishes messages about sessions to a topic, as the app does", options,
        .n_options = CLI_COUNT(options),
        .example = "inpaint-worker publish --topic projects/P/topics/session-processing --user U --session S\n\n"
                   "The credentials are FIREBASE_CREDENTIALS, GOOGLE_APPLICATION_CREDENTIALS or the metadata server's, "
                   "as those of `serve`;\nPUBSUB_EMULATOR_HOST leads to an emulator."
    };
    int status = cli_parse(&command, argc, argv);
    const char *wrong = status == CLI_RUN ? misuse(&a) : NULL;
    struct run r = { 0 };
    struct err err = { 0 };

    if (status != CLI_RUN)
        return status;
    if (wrong)
        return cli_misused(&command, "%s", wrong);
    status = publish(&r, &a, &err) ? cli_fail(&command, &err) : CLI_DONE;
    remote_close(&r.remote);
    return status;
}
