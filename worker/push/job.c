#include "worker/push/job.h"

#include <stdio.h>

#include "worker/base/members.h"

static bool is_id_character(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

bool job_id_is_valid(struct span id)
{
    if (id.len < 1 || id.len > JOB_ID_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (!is_id_character(id.ptr[i]))
            return false;
    return !(id.len >= 4 && span_starts(id, "__") && span_ends(id, "__")); /* reserved by Firestore */
}

static enum err_code read_id(const struct member *m, char ret[JOB_ID_MAX + 1], struct err *err)
{
    if (!m->type)
        return err_set(err, ERR_INVALID, "job: %s is missing", m->name);
    if (!member_text(m, ret, JOB_ID_MAX + 1) || !job_id_is_valid(span_of(ret)))
        return err_set(err, ERR_INVALID, "job: %s is not 1 to %d of [A-Za-z0-9_-]", m->name, JOB_ID_MAX);
    return ERR_OK;
}

static void name_object(const struct job *job, const char *file, char ret[JOB_PATH_SIZE])
{
    (void)snprintf(ret, JOB_PATH_SIZE, "users/%s/sessions/%s%s", job->user_id, job->session_id, file);
}

enum err_code job_parse(struct span data, struct job *ret, struct err *err)
{
    enum { USER, SESSION, N };
    struct member m[N] = { { .name = "userId" }, { .name = "sessionId" } };
    struct job job = { 0 };

    if (data.len > JOB_DATA_MAX)
        return err_set(err, ERR_TOO_LARGE, "job: more than %d bytes", JOB_DATA_MAX);
    TRY(members_parse(data, JOB_DEPTH_MAX, "job", m, N, err));
    TRY(read_id(&m[USER], job.user_id, err));
    TRY(read_id(&m[SESSION], job.session_id, err));
    name_object(&job, "", job.document);
    name_object(&job, "/original.jpg", job.original);
    name_object(&job, "/mask_auto.png", job.mask_auto);
    name_object(&job, "/edited.jpg", job.edited);
    name_object(&job, "/preview.jpg", job.preview);
    *ret = job;
    return ERR_OK;
}
