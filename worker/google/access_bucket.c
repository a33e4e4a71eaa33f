#include <stdio.h>
#include <string.h>

#include "worker/base/json.h"
#include "worker/google/access.h"
#include "worker/google/access_parts.h"

/* What a job does in the bucket. To replace an object takes the permission to delete it, too. The last one is not used,
 * but who lacks it is told 403 about an object that is not there, as the results of a new session are. */
#define LIST "storage.objects.list"
static const char *const permissions[] = { "storage.objects.get", "storage.objects.create", "storage.objects.delete",
                                           LIST };
enum { N_PERMISSIONS = sizeof permissions / sizeof *permissions, N_USED = N_PERMISSIONS - 1 };

#define ROLE "roles/storage.objectUser"

/* ---- verdicts ---- */

static void bucket_is_missing(const struct access *x, const char *message, struct access_answer *ret)
{
    access_reason(ret, ACCESS_REFUSED, "the bucket %s does not exist: %.200s", x->storage->bucket, message);
    access_remedy(ret,
                  "set FIREBASE_STORAGE_BUCKET to one of: gcloud storage buckets list --project=%s "
                  "--format='value(name)' (or make it: gcloud storage buckets create gs://%s --project=%s "
                  "--location=LOCATION)",
                  x->project, x->storage->bucket, x->project);
    ret->absent = true;
}

static void bucket_is_denied(const struct access *x, const char *missing, const char *message,
                             const struct budget *budget, struct access_answer *ret)
{
    char account[GAUTH_ACCOUNT_SIZE];

    access_reason(ret, ACCESS_REFUSED, "the bucket %s refuses us: missing %s, which the role " ROLE " has%s%.220s",
                  x->storage->bucket, missing, *message ? ": " : "", message);
    access_remedy(ret,
                  "gcloud storage buckets add-iam-policy-binding gs://%s --member=serviceAccount:%s --role=" ROLE
                  " (if that is the right bucket: FIREBASE_STORAGE_BUCKET)",
                  x->storage->bucket, access_account(x, budget, account));
}

/* ---- the question which permissions we have ---- */

static bool has(const struct json *granted, const char *permission)
{
    for (const struct json *v = json_first(granted); v; v = json_next(v)) {
        const char *text = json_string(v);

        if (text && strcmp(text, permission) == 0)
            return true;
    }
    return false;
}

static void judge_permissions(const struct access *x, const struct json *list, const struct budget *budget,
                              struct access_answer *ret)
{
    char missing[160] = "";
    size_t n = 0;

    for (int i = 0; i < N_USED; i++)
        if (!has(list, permissions[i]))
            n += (size_t)snprintf(missing + n, sizeof missing - n, "%s%s", n ? ", " : "", permissions[i]);
    if (n)
        bucket_is_denied(x, missing, "", budget, ret);
    else
        *ret = (struct access_answer){ .verdict = ACCESS_GRANTED };
}

static bool says_no_bucket(const char *message)
{
    return strstr(message, "ucket") && (strstr(message, "not exist") || strstr(message, "not found") ||
                                        strstr(message, "No such") || strstr(message, "is there a"));
}

/* An object with "permissions"; without one where nothing is granted. Anything else is no answer to this question. */
static bool is_permissions(const struct json *root)
{
    const char *kind = json_string(json_get(root, "kind"));

    return json_type(json_get(root, "permissions")) == JSON_T_ARRAY ||
           (kind && strcmp(kind, "storage#testIamPermissionsResponse") == 0);
}

static enum err_code ask(const struct access *x, const struct budget *budget, struct arena *a, struct access_reply *ret,
                         struct err *err)
{
    struct access_question q = { .method = "GET", .service = GAUTH_STORAGE, .allow_plain = x->storage->emulator };
    char *url;

    TRY(arena_printf(a, &url, err, "%s/storage/v1/b/%s/iam/testIamPermissions", x->storage->base, x->storage->bucket));
    for (int i = 0; i < N_PERMISSIONS; i++)
        TRY(arena_printf(a, &url, err, "%s%cpermissions=%s", url, i ? '&' : '?', permissions[i]));
    q.url = url;
    access_ask(x, &q, budget, a, ret);
    return ERR_OK;
}

enum { PROBE_NAME_SIZE = sizeof ACCESS_PROBE_PREFIX + 36 };

/* The name of an object that is not there. */
static void make_probe_name(const struct access *x, char ret[PROBE_NAME_SIZE])
{
    char uuid[37];

    sys_uuid(x->storage->sys, uuid);
    (void)snprintf(ret, PROBE_NAME_SIZE, ACCESS_PROBE_PREFIX "%s", uuid);
}

/* Where the permission to list is not granted: what is said of an object that is not there. */
static void look_for_nothing(const struct access *x, const struct budget *budget, struct arena *a,
                             struct access_answer *ret)
{
    struct storage_object seen;
    struct err err = { 0 };
    char name[PROBE_NAME_SIZE];

    make_probe_name(x, name);
    if (storage_stat(x->storage, name, budget, a, &seen, &err) == ERR_DENIED && strstr(err.msg, "HTTP 403"))
        bucket_is_denied(x, LIST, "", budget, ret);
}

/* False: the server does not know the question. */
static bool judge_asked(const struct access *x, const struct access_reply *r, const struct budget *budget,
                        struct arena *a, struct access_answer *ret)
{
    if (access_judge_common(x, "the bucket's service", r, budget, ret))
        return true;
    if (r->status == 200 && is_permissions(r->root)) {
        judge_permissions(x, json_get(r->root, "permissions"), budget, ret);
        if (ret->verdict == ACCESS_GRANTED && !has(json_get(r->root, "permissions"), LIST))
            look_for_nothing(x, budget, a, ret);
        return true;
    }
    if (r->status == 404 && says_no_bucket(r->message)) {
        bucket_is_missing(x, r->message, ret);
        return true;
    }
    if (r->status != 403)
        return false;
    bucket_is_denied(x, "storage.objects.get, storage.objects.create, storage.objects.delete", r->message, budget, ret);
    return true;
}

/* ---- the attempt: an object is written, looked at and removed ---- */

/* What a failed call of storage means, which needed that permission. */
static void judge_attempt(const struct access *x, const char *permission, const struct err *err,
                          const struct budget *budget, struct access_answer *ret)
{
    if (err->code == ERR_DENIED && strstr(err->msg, "HTTP 403"))
        bucket_is_denied(x, permission, strstr(err->msg, ROLE) ? "" : err->msg, budget, ret);
    else if (says_no_bucket(err->msg) || (err->code == ERR_INVALID && strstr(err->msg, "HTTP 404")))
        bucket_is_missing(x, err->msg, ret);
    else
        access_judge_failure(err->code, err->msg, ret);
    if (ret->verdict == ACCESS_REFUSED && !*ret->remedy)
        access_remedy(ret, "check FIREBASE_STORAGE_BUCKET (%s)", x->storage->bucket);
}

static void attempt(const struct access *x, const struct budget *budget, struct arena *a, struct access_answer *ret)
{
    char name[PROBE_NAME_SIZE];
    const struct storage_put put = { .object = name, .content_type = "text/plain", .body = SPAN("probe\n") };
    struct storage_object put_object = { 0 }, seen = { 0 };
    struct err err = { 0 };

    make_probe_name(x, name);
    if (storage_put(x->storage, &put, budget, a, &put_object, &err)) {
        judge_attempt(x, "storage.objects.create", &err, budget, ret);
        return;
    }
    *ret = (struct access_answer){ .verdict = ACCESS_GRANTED };
    if (storage_stat(x->storage, name, budget, a, &seen, &err))
        judge_attempt(x, "storage.objects.get", &err, budget, ret);
    err = (struct err){ 0 };
    if (storage_delete(x->storage, name, put_object.generation, budget, a, &err) && ret->verdict == ACCESS_GRANTED)
        judge_attempt(x, "storage.objects.delete", &err, budget, ret);
}

/* ---- the bucket ---- */

void access_bucket(const struct access *x, enum access_way way, const struct budget *budget, struct arena *a,
                   struct access_answer *ret)
{
    struct access_reply r;
    struct err err = { 0 };
    enum err_code rc = ask(x, budget, a, &r, &err);

    if (rc)
        access_judge_failure(rc, err.msg, ret);
    else if (!judge_asked(x, &r, budget, a, ret) || (ret->verdict == ACCESS_GRANTED && way == ACCESS_TRY))
        attempt(x, budget, a, ret);
}

/* With another bucket than the one that is set. */
static void ask_candidate(const struct access *x, const char *bucket, const struct budget *budget, struct arena *a,
                          struct access_answer *ret)
{
    _Atomic bool seen = false; /* what is said of a candidate is not said of our bucket */
    struct storage storage = *x->storage;
    struct access other = *x;

    storage.bucket = bucket;
    storage.bucket_seen = &seen;
    other.storage = &storage;
    access_bucket(&other, ACCESS_ASK, budget, a, ret);
}

static void nothing_derived(const struct access *x, struct access_answer *ret)
{
    access_reason(
        ret, ACCESS_REFUSED,
        "FIREBASE_STORAGE_BUCKET is not set, and neither bucket that Firebase makes for the project %s exists: "
        "%s.firebasestorage.app, %s.appspot.com",
        x->project, x->project, x->project);
    access_remedy(ret,
                  "set FIREBASE_STORAGE_BUCKET to one of: gcloud storage buckets list --project=%s "
                  "--format='value(name)'",
                  x->project);
}

/* Only a bucket that is absent is passed over. One that refuses us is there: App Engine makes the second one beside it,
 * and in the wrong bucket every photo would be missing. */
void access_find_bucket(const struct access *x, const struct budget *budget, struct arena *a,
                        char ret_bucket[BUCKET_NAME_MAX + 1], struct access_answer *ret)
{
    static const char *const domains[] = { "firebasestorage.app", "appspot.com" };

    for (size_t i = 0; i < sizeof domains / sizeof *domains; i++) {
        char name[PROJECT_ID_MAX + 32];

        *ret_bucket = 0;
        (void)snprintf(name, sizeof name, "%s.%s", x->project, domains[i]);
        if (!bucket_name_is_valid(name)) /* an old project, "example.com:name" */
            continue;
        ask_candidate(x, name, budget, a, ret);
        (void)snprintf(ret_bucket, BUCKET_NAME_MAX + 1, "%s", name);
        if (ret->verdict == ACCESS_GRANTED)
            return;
        *ret_bucket = 0;
        if (!ret->absent)
            return;
    }
    nothing_derived(x, ret);
}
