#include "worker/push/job.h"

#include <stdio.h>

#include "worker/base/members.h"

/* ---- ids ---- */

/* C0, DEL and C1; `n` is the length of the UTF-8 sequence at p. */
static bool is_control(const char *p, size_t n)
{
    unsigned char c = (unsigned char)p[0];

    return c < 0x20 || c == 0x7F || (n == 2 && c == 0xC2 && (unsigned char)p[1] < 0xA0);
}

bool job_id_is_valid(struct span id)
{
    size_t at = 0, characters = 0;

    if (id.len < 1 || id.len > JOB_ID_MAX || span_is(id, ".") || span_is(id, ".."))
        return false;
    for (; at < id.len; characters++) {
        size_t n = json_utf8_length((struct span){ id.ptr + at, id.len - at });

        if (n == 0 || is_control(id.ptr + at, n) || memchr("/\\%#?*[]", id.ptr[at], 8))
            return false;
        at += n;
    }
    return characters <= JOB_ID_MAX_CHARACTERS && !(id.len >= 4 && span_starts(id, "__") && span_ends(id, "__"));
}

static enum err_code read_spelling(const struct member *m, char ret[JOB_ID_MAX + 1], struct err *err)
{
    if (!member_text_or_digits(m, ret, JOB_ID_MAX + 1) || !job_id_is_valid(span_of(ret)))
        return err_set(err, ERR_INVALID,
                       "job: %s is not an id: 1 to %d characters, at most %d bytes, without control characters and "
                       "without / \\ %% # ? * [ ], not . or .. or __...__; or an integer without a sign",
                       m->name, JOB_ID_MAX_CHARACTERS, JOB_ID_MAX);
    return ERR_OK;
}

static enum err_code read_id(const struct member *camel, const struct member *snake, char ret[JOB_ID_MAX + 1],
                             struct err *err)
{
    char other[JOB_ID_MAX + 1];

    if (!camel->type && !snake->type)
        return err_set(err, ERR_INVALID, "job: %s is missing", camel->name);
    TRY(read_spelling(camel->type ? camel : snake, ret, err));
    if (!camel->type || !snake->type)
        return ERR_OK;
    TRY(read_spelling(snake, other, err));
    if (strcmp(ret, other) != 0)
        return err_set(err, ERR_INVALID, "job: %s and %s differ", camel->name, snake->name);
    return ERR_OK;
}

/* ---- names ---- */

static enum err_code name_object(const struct job *job, const char *file, char ret[JOB_PATH_SIZE], struct err *err)
{
    int n = snprintf(ret, JOB_PATH_SIZE, "users/%s/sessions/%s%s", job->user_id, job->session_id, file);

    if (n >= JOB_PATH_SIZE)
        return err_set(err, ERR_INVALID,
                       "job: userId and sessionId have %zu bytes together, which makes the name of an object longer "
                       "than the %d bytes that Cloud Storage allows",
                       strlen(job->user_id) + strlen(job->session_id), JOB_OBJECT_NAME_MAX);
    return ERR_OK;
}

static enum err_code name_objects(struct job *job, struct err *err)
{
    TRY(name_object(job, "/mask_auto.png", job->mask_auto, err)); /* the longest name */
    TRY(name_object(job, "/original.jpg", job->original, err));
    TRY(name_object(job, "/edited.jpg", job->edited, err));
    TRY(name_object(job, "/preview.jpg", job->preview, err));
    return name_object(job, "", job->document, err);
}

enum err_code job_parse(struct span data, struct job *ret, struct err *err)
{
    enum { USER, USER_SNAKE, SESSION, SESSION_SNAKE, N };
    struct member m[N] = {
        { .name = "userId" }, { .name = "user_id" }, { .name = "sessionId" }, { .name = "session_id" }
    };
    struct job job = { 0 };

    if (data.len > JOB_DATA_MAX)
        return err_set(err, ERR_TOO_LARGE, "job: the payload has %zu bytes, more than %d", data.len, JOB_DATA_MAX);
    TRY(members_parse(data, JOB_DEPTH_MAX, "job", m, N, err));
    TRY(read_id(&m[USER], &m[USER_SNAKE], job.user_id, err));
    TRY(read_id(&m[SESSION], &m[SESSION_SNAKE], job.session_id, err));
    TRY(name_objects(&job, err));
    *ret = job;
    return ERR_OK;
}
