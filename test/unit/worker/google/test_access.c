/* Verdicts and remedies; PROTOCOL.md 6.4. */
#include <stdio.h>
#include <string.h>

#include "test/support/check.h"
#include "test/support/fake/keys.h"
#include "test/support/fake/script.h"
#include "worker/google/access.h"

#define DOCUMENTS  "projects/demo/databases/(default)/documents"
#define RPC(s, m)  "{\"error\":{\"code\":0,\"status\":\"" s "\",\"message\":\"" m "\"}}"
#define ABSENT     RPC("NOT_FOUND", "Document \\\"" DOCUMENTS "/users/inpaint-worker/sessions/probe\\\" not found.")
#define NO_UPDATE  RPC("NOT_FOUND", "No document to update: " DOCUMENTS "/users/inpaint-worker/sessions/probe")
#define NO_LIST    "\"storage.objects.get\",\"storage.objects.create\",\"storage.objects.delete\""
#define ALL        NO_LIST ",\"storage.objects.list\""
#define GRANTED(x) "{\"kind\":\"storage#testIamPermissionsResponse\",\"permissions\":[" x "]}"
#define NO_BUCKET  "{\"error\":{\"code\":404,\"message\":\"The specified bucket does not exist.\"}}"

static struct {
    struct script s;
    struct gauth *g;
    struct firestore fs;
    struct storage st;
    struct access x;
    struct arena a;
    struct access_answer answer;
    char key[20000];
} f;

static const char *key(void)
{
    const char *pem = test_key(2048, 65537, 0)->private_pem;
    size_t n = (size_t)snprintf(f.key, sizeof f.key,
                                "{\"type\":\"service_account\",\"client_email\":\"w@demo.example\",\"private_key\":\"");

    for (; *pem; pem++)
        n += (size_t)snprintf(f.key + n, sizeof f.key - n, *pem == '\n' ? "\\n" : "%c", *pem);
    (void)snprintf(f.key + n, sizeof f.key - n, "\"}");
    return f.key;
}

/* Google's own services, with the key of a service account. */
static void start(const char *bucket)
{
    struct err err = { 0 };

    memset(&f, 0, sizeof f);
    script_init(&f.s);
    CHECK_OK(arena_init(&f.a, 64 << 20, &err), err);
    CHECK_OK(gauth_open(&(struct gauth_options){ .http = &f.s.http, .sys = &f.s.sys, .firebase_credentials = key(),
                                                 .project = "demo" },
                        &f.g, &err), err);
    CHECK_OK(firestore_init(&f.fs, &(struct firestore_options){ .http = &f.s.http, .gauth = f.g, .project = "demo" },
                            &f.a, &err), err);
    CHECK_OK(storage_init(&f.st, &(struct storage_options){ .http = &f.s.http, .gauth = f.g, .sys = &f.s.sys,
                                                            .bucket = bucket },
                          &f.a, &err), err);
    f.x = (struct access){ &f.s.http, f.g, &f.fs, &f.st, "demo", "(default)" };
}

static void stop(void)
{
    gauth_close(f.g);
    arena_done(&f.a);
    script_done(&f.s);
}

static void will(int status, const char *body)
{
    script_will(&f.s, (struct script_reply){ .status = status, .body = span_of(body) });
}

static void check_answer(enum access_verdict verdict, const char *reason, const char *remedy)
{
    CHECK_INT(f.answer.verdict, verdict);
    if (!strstr(f.answer.reason, reason))
        CHECK_STR(f.answer.reason, reason);
    if (!strstr(f.answer.remedy, remedy))
        CHECK_STR(f.answer.remedy, remedy);
}

static void database(void)
{
    access_database(&f.x, &f.s.budget, &f.a, &f.answer);
}

/* ---- the database ---- */

TEST(access__asks_to_read_and_to_write_a_document_that_is_not_there)
{
    start("bkt");
    will(404, ABSENT);
    will(404, NO_UPDATE);
    database();
    check_answer(ACCESS_GRANTED, "", "");
    CHECK_STR(f.answer.reason, "");
    CHECK_INT(f.s.n_requests, 2);
    CHECK_STR(f.s.requests[0].url,
              "https://firestore.googleapis.com/v1/" DOCUMENTS "/users/inpaint-worker/sessions/probe?mask.fieldPaths=probe");
    CHECK_STR(f.s.requests[0].method, "GET");
    CHECK_STR(f.s.requests[1].url, "https://firestore.googleapis.com/v1/" DOCUMENTS ":commit");
    CHECK(strstr(f.s.requests[1].body.ptr, "\"currentDocument\":{\"exists\":true}"));
    CHECK(strstr(f.s.requests[1].body.ptr, "\"updateMask\":{\"fieldPaths\":[\"probe\"]}"));
    CHECK(strstr(f.s.requests[0].header_text, "Authorization: Bearer "));
    stop();
}

TEST(access__a_database_that_says_only_not_found_is_left_to_the_first_job)
{
    start("bkt");
    will(404, RPC("NOT_FOUND", ""));
    will(404, RPC("NOT_FOUND", ""));
    database();
    check_answer(ACCESS_GRANTED, "", "");
    stop();
}

TEST(access__a_refusal_by_the_database_says_what_mends_it)
{
    static const struct {
        int status;
        const char *body, *reason, *remedy;
    } cases[] = {
        { 404, RPC("NOT_FOUND", "The database (default) does not exist for project demo Please visit x"),
          "the database (default) does not exist in the project demo", "gcloud firestore databases create --project=demo" },
        { 404, "[" RPC("NOT_FOUND", "The database (default) does not exist for project demo") "]", "does not exist",
          "--database='(default)'" },
        { 404, RPC("NOT_FOUND", "Project demo not found"), "the project demo does not exist", "GOOGLE_CLOUD_PROJECT" },
        { 404, RPC("NOT_FOUND", "Project document-database-billing not found"), "the project demo does not exist",
          "GOOGLE_CLOUD_PROJECT" },
        { 404, RPC("NOT_FOUND", "The database documents does not exist for project document"),
          "the database (default) does not exist", "gcloud firestore databases create" },
        { 403, RPC("PERMISSION_DENIED", "Permission denied on resource project billing-prod."), "roles/datastore.user",
          "add-iam-policy-binding" },
        { 403, RPC("PERMISSION_DENIED", "Consumer 'projects/demo' is invalid."), "Consumer", "GOOGLE_CLOUD_PROJECT" },
        { 403, RPC("PERMISSION_DENIED", "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: x"),
          "VPC Service Controls", "perimeter" },
        { 200, "<html>", "is not Firestore", "FIRESTORE_EMULATOR_HOST" },
        { 200, "{}", "is not Firestore", "FIRESTORE_EMULATOR_HOST" },
        { 200, "{\"name\":\"probe\"}", "is not Firestore", "FIRESTORE_EMULATOR_HOST" },
        { 404, "<html>", "is not Firestore", "FIRESTORE_EMULATOR_HOST" },
        { 404, "{\"error\":{\"code\":404,\"message\":\"Not Found\"}}", "is not Firestore", "FIRESTORE_EMULATOR_HOST" },
        { 403, RPC("PERMISSION_DENIED", "Missing or insufficient permissions."), "roles/datastore.user",
          "gcloud projects add-iam-policy-binding demo --member=serviceAccount:w@demo.example --role=roles/datastore.user" },
        { 403, "<html>", "roles/datastore.user", "add-iam-policy-binding" },
        { 403, RPC("PERMISSION_DENIED", "Cloud Firestore API has not been used in project demo before or it is disabled."),
          "not enabled", "gcloud services enable firestore.googleapis.com" },
        { 403, RPC("PERMISSION_DENIED", "Request had insufficient authentication scopes."), "token", "--scopes=cloud-platform" },
        { 403, RPC("PERMISSION_DENIED", "This API method requires billing to be enabled."), "billing", "gcloud billing" },
        { 400, RPC("FAILED_PRECONDITION", "The Cloud Firestore API is not available for Firestore in Datastore Mode database x"),
          "Datastore Mode", "--type=firestore-native" },
        { 400, RPC("INVALID_ARGUMENT", "x"), "cannot be used", "FIRESTORE_DATABASE" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start("bkt");
        will(cases[i].status, cases[i].body);
        database();
        check_answer(ACCESS_REFUSED, cases[i].reason, cases[i].remedy);
        CHECK_INT(f.s.n_requests, 1);
        stop();
    }
}

/* It is Firestore that speaks, and not of a database: a job is careful with such an answer by itself. */
TEST(access__a_server_that_says_not_found_in_its_own_words_is_not_refused_for_it)
{
    static const char *const answers[] = { "{\"error\":{\"status\":\"NOT_FOUND\"}}", RPC("NOT_FOUND", ""),
                                           RPC("NOT_FOUND", "Requested entity was not found."),
                                           RPC("NOT_FOUND", "no such document") };

    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        start("bkt");
        will(404, answers[i]);
        will(404, answers[i]);
        database();
        check_answer(ACCESS_GRANTED, "", "");
        stop();
    }
}

TEST(access__a_role_that_may_only_read_is_not_enough)
{
    start("bkt");
    will(404, ABSENT);
    will(403, RPC("PERMISSION_DENIED", "Missing or insufficient permissions."));
    database();
    check_answer(ACCESS_REFUSED, "datastore.entities.update", "roles/datastore.user");
    stop();
}

TEST(access__a_server_that_answers_the_write_in_its_own_way_is_not_refused_for_it)
{
    static const struct {
        int status;
        const char *body;
    } cases[] = { { 404, RPC("NOT_FOUND", "no entity to update") }, { 400, RPC("FAILED_PRECONDITION", "x") },
                  { 200, "{}" }, { 501, "" }, { 405, "" }, { 404, "" } };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start("bkt");
        will(200, "{\"name\":\"" DOCUMENTS "/users/inpaint-worker/sessions/probe\"}"); /* somebody has made it */
        will(cases[i].status, cases[i].body);
        database();
        check_answer(ACCESS_GRANTED, "", "");
        stop();
    }
}

TEST(access__what_may_pass_is_not_a_refusal)
{
    static const int statuses[] = { 500, 503, 429, 408, 502, 504 };

    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        start("bkt");
        will(statuses[i], "");
        will(statuses[i], RPC("UNAVAILABLE", "later"));
        database();
        check_answer(ACCESS_UNSURE, "later", "asked again");
        CHECK_INT(f.s.n_requests, 2); /* whoever asks, asks again */
        stop();
    }
    start("bkt"); /* nothing is scripted: no connection */
    database();
    check_answer(ACCESS_UNSURE, "scripted", "");
    stop();
    start("bkt");
    will(404, ABSENT);
    will(503, "");
    will(404, NO_UPDATE);
    database();
    check_answer(ACCESS_GRANTED, "", "");
    stop();
}

TEST(access__a_refused_token_is_renewed_once)
{
    start("bkt");
    will(401, RPC("UNAUTHENTICATED", "x"));
    will(404, ABSENT);
    will(404, NO_UPDATE);
    database();
    check_answer(ACCESS_GRANTED, "", "");
    stop();
    start("bkt");
    will(401, RPC("UNAUTHENTICATED", "x"));
    will(401, RPC("UNAUTHENTICATED", "gone"));
    database();
    check_answer(ACCESS_REFUSED, "gone", "--iam-account=w@demo.example");
    CHECK(!strstr(f.answer.reason, "Bearer") && !strstr(f.answer.remedy, "Bearer"));
    stop();
}

/* ---- the bucket ---- */

static void bucket(enum access_way way)
{
    access_bucket(&f.x, way, &f.s.budget, &f.a, &f.answer);
}

TEST(access__the_bucket_is_asked_which_permissions_we_have)
{
    start("bkt");
    will(200, GRANTED(ALL));
    bucket(ACCESS_ASK);
    check_answer(ACCESS_GRANTED, "", "");
    CHECK_STR(f.s.requests[0].url,
              "https://storage.googleapis.com/storage/v1/b/bkt/iam/testIamPermissions?permissions=storage.objects.get"
              "&permissions=storage.objects.create&permissions=storage.objects.delete&permissions=storage.objects.list");
    CHECK_INT(f.s.n_requests, 1);
    stop();
}

/* Who may not list is told 403 about an object that is not there, and every job looks for results that are not. */
TEST(access__without_the_permission_to_list_a_missing_object_must_be_one)
{
    static const struct {
        int status;
        enum access_verdict verdict;
    } cases[] = { { 403, ACCESS_REFUSED }, { 404, ACCESS_GRANTED } };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start("bkt");
        will(200, GRANTED(NO_LIST));
        will(cases[i].status, "{\"error\":{\"message\":\"No such object: bkt/x\"}}");
        bucket(ACCESS_ASK);
        check_answer(cases[i].verdict, i ? "" : "missing storage.objects.list, which", i ? "" : "roles/storage.objectUser");
        CHECK_INT(f.s.n_requests, 2);
        CHECK_STR(f.s.requests[1].method, "GET");
        stop();
    }
}

TEST(access__each_missing_permission_is_named)
{
    static const struct {
        int status;
        const char *body, *reason;
    } cases[] = {
        { 200, GRANTED("\"storage.objects.get\""), "missing storage.objects.create, storage.objects.delete, which" },
        { 200, GRANTED("\"storage.objects.delete\",\"storage.objects.create\""), "missing storage.objects.get, which" },
        { 200, GRANTED("1,null,{}"), "missing storage.objects.get, storage.objects.create, storage.objects.delete" },
        { 200, "{\"kind\":\"storage#testIamPermissionsResponse\"}", "missing storage.objects.get, storage.objects.create" },
        { 403, "", "missing storage.objects.get, storage.objects.create, storage.objects.delete" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start("bkt");
        will(cases[i].status, cases[i].body);
        bucket(ACCESS_TRY);
        check_answer(ACCESS_REFUSED, cases[i].reason,
                     "gcloud storage buckets add-iam-policy-binding gs://bkt --member=serviceAccount:w@demo.example "
                     "--role=roles/storage.objectUser");
        CHECK_INT(f.s.n_requests, 1); /* nothing is written */
        stop();
    }
}

TEST(access__a_missing_bucket_is_told_from_a_question_that_is_not_known)
{
    start("bkt");
    will(404, NO_BUCKET);
    bucket(ACCESS_ASK);
    check_answer(ACCESS_REFUSED, "the bucket bkt does not exist", "FIREBASE_STORAGE_BUCKET");
    CHECK(f.answer.absent);
    CHECK_INT(f.s.n_requests, 1);
    stop();
    start("bkt");
    will(404, "Not Found");
    will(404, "Not Found"); /* of the upload */
    bucket(ACCESS_ASK);
    check_answer(ACCESS_REFUSED, "the bucket bkt does not exist", "FIREBASE_STORAGE_BUCKET");
    CHECK_STR(f.s.requests[1].method, "POST");
    stop();
}

/* A bucket that knows no permissions but stores objects; `denied` is the method that it refuses. */
static const char *denied;

static struct script_reply store(void *ctx, const struct script_request *req)
{
    static char text[400];
    const char *name = strstr(req->method, "POST") ? strstr(req->body.ptr, ACCESS_PROBE_PREFIX)
                                                   : strstr(req->url, "inpaint-worker-probe%2F");

    (void)ctx;
    if (strstr(req->url, "testIamPermissions"))
        return (struct script_reply){ .status = 405 };
    CHECK(name);
    if (denied && strcmp(req->method, denied) == 0) /* words that are also those of a missing bucket */
        return (struct script_reply){
            .status = 403, .body = SPAN("{\"error\":{\"message\":\"by the bucket's policy, or it may not exist\"}}") };
    if (strcmp(req->method, "DELETE") == 0)
        return (struct script_reply){ .status = 204 };
    (void)snprintf(text, sizeof text, "{\"name\":\"" ACCESS_PROBE_PREFIX "%.36s\",\"generation\":\"5\",\"size\":\"6\"}",
                   strstr(req->method, "POST") ? strstr(req->body.ptr, ACCESS_PROBE_PREFIX) + strlen(ACCESS_PROBE_PREFIX)
                                               : strstr(req->url, "probe%2F") + 8);
    return (struct script_reply){ .status = 200, .body = span_of(text) };
}

TEST(access__a_long_page_is_judged_by_its_number)
{
    start("bkt");
    script_will(&f.s, (struct script_reply){ .status = 403, .rc = ERR_TOO_LARGE });
    bucket(ACCESS_ASK);
    check_answer(ACCESS_REFUSED, "the bucket bkt refuses us", "roles/storage.objectUser");
    stop();
}

TEST(access__where_the_question_is_not_known_an_object_is_written_and_removed)
{
    static const struct {
        const char *denied, *permission;
    } cases[] = { { NULL, NULL }, { "POST", "storage.objects.create" }, { "GET", "storage.objects.get" },
                  { "DELETE", "storage.objects.delete" } };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool kept = i == 1;

        start("bkt");
        denied = cases[i].denied;
        f.s.handle = store;
        bucket(ACCESS_ASK);
        if (!cases[i].denied)
            check_answer(ACCESS_GRANTED, "", "");
        else
            check_answer(ACCESS_REFUSED, cases[i].permission, "roles/storage.objectUser");
        CHECK(!cases[i].denied || strstr(f.answer.reason, "the bucket's policy"));
        CHECK_STR(f.s.requests[f.s.n_requests - 1].method, kept ? "POST" : "DELETE");
        stop();
    }
}

TEST(access__a_bucket_refuses_for_other_reasons_than_a_role)
{
    static const struct {
        int status;
        const char *body, *reason, *remedy;
    } cases[] = {
        { 403, RPC("", "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: x"),
          "VPC Service Controls", "perimeter" },
        { 403, RPC("", "The account for the specified project has been disabled."), "billing", "gcloud billing" },
        { 400, RPC("", "Bucket is a requester pays bucket but no user project provided."), "requester pays",
          "FIREBASE_STORAGE_BUCKET" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start("bkt");
        will(cases[i].status, cases[i].body);
        will(cases[i].status, cases[i].body);
        bucket(ACCESS_ASK);
        check_answer(ACCESS_REFUSED, cases[i].reason, cases[i].remedy);
        stop();
    }
}

/* ---- the topic ---- */

#define TOPIC "projects/p-2/topics/dead%2Bletters"

static void topic(const char *emulator)
{
    struct publisher p;
    struct err err = { 0 };

    CHECK_OK(publisher_init(&p, &(struct publisher_options){ .http = &f.s.http, .gauth = f.g, .emulator_host = emulator,
                                                             .topic = "projects/p-2/topics/dead+letters" },
                            &f.a, &err), err);
    access_topic(&f.x, &p, &f.s.budget, &f.a, &f.answer);
}

TEST(access__the_topic_is_asked_whether_we_may_publish)
{
    static const struct {
        int status;
        const char *body, *reason, *remedy;
    } cases[] = {
        { 200, "{\"permissions\":[\"pubsub.topics.publish\"]}", NULL, NULL },
        { 200, "{}", "missing pubsub.topics.publish", "gcloud pubsub topics add-iam-policy-binding" },
        { 200, "{\"permissions\":[]}", "missing pubsub.topics.publish", "--member=serviceAccount:w@demo.example" },
        { 403, RPC("PERMISSION_DENIED", "User not authorized"), "User not authorized", "--role=roles/pubsub.publisher" },
        { 403, RPC("PERMISSION_DENIED", "Cloud Pub/Sub API has not been used in project 1 before or it is disabled."),
          "not enabled", "gcloud services enable" },
        { 401, RPC("UNAUTHENTICATED", "x"), "401", "keys list" },
        { 404, "Not Found", NULL, NULL }, { 501, "", NULL, NULL }, { 405, "", NULL, NULL }, { 400, "{}", NULL, NULL },
        { 200, "<html>", NULL, NULL }, { 200, "[]", NULL, NULL }, { 200, "{\"ok\":1}", NULL, NULL },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start("bkt");
        will(cases[i].status, cases[i].body);
        if (cases[i].status == 401)
            will(401, cases[i].body);
        topic(NULL);
        check_answer(cases[i].reason ? ACCESS_REFUSED : ACCESS_GRANTED, cases[i].reason ? cases[i].reason : "",
                     cases[i].remedy ? cases[i].remedy : "");
        CHECK_STR(f.s.requests[0].url, "https://pubsub.googleapis.com/v1/" TOPIC ":testIamPermissions");
        CHECK_STR(f.s.requests[0].method, "POST");
        CHECK(span_eq(f.s.requests[0].body, SPAN("{\"permissions\":[\"pubsub.topics.publish\"]}")));
        stop();
    }
    start("bkt");
    topic("127.0.0.1:1");
    check_answer(ACCESS_GRANTED, "", "");
    CHECK_INT(f.s.n_requests, 0);
    stop();
}

/* ---- the bucket of the project ---- */

TEST(access__the_bucket_of_the_project_is_the_first_that_exists)
{
    static const struct {
        const char *first, *second; /* answers; NULL: not asked */
        const char *want;
        enum access_verdict verdict;
    } cases[] = {
        { GRANTED(ALL), NULL, "demo.firebasestorage.app", ACCESS_GRANTED },
        { NO_BUCKET, GRANTED(ALL), "demo.appspot.com", ACCESS_GRANTED },
        { GRANTED(""), NULL, "", ACCESS_REFUSED }, /* App Engine makes the second one: it may hold no photo */
        { NO_BUCKET, NO_BUCKET, "", ACCESS_REFUSED },
        { NO_BUCKET, GRANTED(""), "", ACCESS_REFUSED },
    };
    char found[BUCKET_NAME_MAX + 1];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start(NULL);
        will(strstr(cases[i].first, "404") ? 404 : 200, cases[i].first);
        if (cases[i].second)
            will(strstr(cases[i].second, "404") ? 404 : 200, cases[i].second);
        access_find_bucket(&f.x, &f.s.budget, &f.a, found, &f.answer);
        CHECK_STR(found, cases[i].want);
        CHECK_INT(f.answer.verdict, cases[i].verdict);
        CHECK_INT(f.s.n_requests, cases[i].second ? 2 : 1);
        CHECK(!f.st.bucket);
        stop();
    }
}

/* A bucket that another one was looked for beside says nothing about the one that is found. */
static struct script_reply only_appspot(void *ctx, const struct script_request *req)
{
    (void)ctx;
    if (!strstr(req->url, "firebasestorage"))
        return (struct script_reply){ .status = 200, .body = SPAN(GRANTED(ALL)) };
    if (strstr(req->url, "testIamPermissions"))
        return (struct script_reply){ .status = 501 };
    return (struct script_reply){ .status = 404, .body = SPAN(NO_BUCKET) };
}

TEST(access__a_bucket_that_was_only_looked_for_leaves_no_trace)
{
    char found[BUCKET_NAME_MAX + 1];

    start(NULL);
    f.s.handle = only_appspot;
    access_find_bucket(&f.x, &f.s.budget, &f.a, found, &f.answer);
    CHECK_STR(found, "demo.appspot.com");
    CHECK(!*f.st.bucket_seen);
    stop();
}

TEST(access__a_bucket_that_does_not_answer_is_not_passed_over)
{
    char found[BUCKET_NAME_MAX + 1];

    start(NULL);
    will(503, "");
    will(503, "");
    access_find_bucket(&f.x, &f.s.budget, &f.a, found, &f.answer);
    CHECK_STR(found, "");
    check_answer(ACCESS_UNSURE, "HTTP 503", "asked again");
    stop();
}

TEST(access__an_old_project_has_no_bucket_that_could_be_found)
{
    char found[BUCKET_NAME_MAX + 1];

    start(NULL);
    f.x.project = "example.com:demo";
    access_find_bucket(&f.x, &f.s.budget, &f.a, found, &f.answer);
    CHECK_INT(f.s.n_requests, 0);
    check_answer(ACCESS_REFUSED, "FIREBASE_STORAGE_BUCKET is not set", "set FIREBASE_STORAGE_BUCKET");
    stop();
}

/* ---- what stands in the way ---- */

TEST(access__what_stands_in_the_way_is_told_apart)
{
    static const struct {
        enum err_code rc;
        const char *message, *remedy;
        enum access_verdict verdict;
    } cases[] = {
        { ERR_UNAVAILABLE, "http: GET https://x: Could not resolve host: x", "does not resolve", ACCESS_UNSURE },
        { ERR_UNAVAILABLE, "http: GET https://x: Resolving timed out after 5000 milliseconds", "does not resolve",
          ACCESS_UNSURE },
        { ERR_UNAVAILABLE, "http: GET https://x: Failed to connect to x port 1 after 0 ms: Couldn't connect to server",
          "nothing answers", ACCESS_UNSURE },
        { ERR_UNAVAILABLE, "http: GET https://x: SSL certificate problem: self-signed certificate", "cannot be trusted",
          ACCESS_UNSURE },
        { ERR_UNKNOWN_OUTCOME, "http: GET https://x: Operation timed out", "asked again", ACCESS_UNSURE },
        { ERR_UNAVAILABLE, "http: GET https://x: Failed to connect to p port 1 (by the proxy of HTTPS_PROXY)", "NO_PROXY",
          ACCESS_UNSURE },
        { ERR_UNAVAILABLE, "http: GET https://x: Could not resolve proxy: p (by the proxy of HTTPS_PROXY)", "NO_PROXY",
          ACCESS_UNSURE },
        { ERR_PROTOCOL, "storage: 'x': the answer names no object", "not the service that was meant", ACCESS_UNSURE },
        { ERR_DENIED, "token endpoint: HTTP 400 invalid_grant", "", ACCESS_REFUSED },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        access_judge_failure(cases[i].rc, cases[i].message, &f.answer);
        check_answer(cases[i].verdict, cases[i].message, cases[i].remedy);
        CHECK(!strstr(f.answer.remedy, "key"));
    }
}

TEST(access__the_keys_of_push_tokens_may_be_behind_a_proxy_or_not_there)
{
    access_keys(ERR_UNAVAILABLE, "jwks: HTTP 404 instead of the issuer's keys", &f.answer);
    check_answer(ACCESS_UNSURE, "HTTP 404", "is OIDC_CERTS_URL right?");
    access_keys(ERR_UNAVAILABLE, "http: GET https://x: Couldn't connect to server (by the proxy of HTTPS_PROXY)", &f.answer);
    check_answer(ACCESS_UNSURE, "Couldn't connect", "NO_PROXY");
    CHECK(!strstr(f.answer.remedy, "OIDC_CERTS_URL"));
    access_keys(ERR_INVALID, "http: a URL must be printable ASCII", &f.answer);
    check_answer(ACCESS_REFUSED, "printable", "is OIDC_CERTS_URL right?");
}

TEST(access__a_machine_without_an_account_says_so)
{
    struct err err = { 0 };

    start("bkt");
    gauth_close(f.g);
    CHECK_OK(gauth_open(&(struct gauth_options){ .http = &f.s.http, .sys = &f.s.sys, .project = "demo" }, &f.g, &err),
             err);
    f.x.gauth = f.g;
    script_will(&f.s, (struct script_reply){ .status = 404, .headers = { { "metadata-flavor", "Google" } } });
    access_token(&f.x, &f.s.budget, &f.a, &f.answer);
    check_answer(ACCESS_REFUSED, "is a service account attached", "FIREBASE_CREDENTIALS");
    stop();
}
