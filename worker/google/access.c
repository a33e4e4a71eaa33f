#include "worker/google/access.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "worker/base/json.h"
#include "worker/google/access_parts.h"
#include "worker/google/api.h"

enum { REPLY_MAX = 64 << 10, DEPTH_MAX = 30 };

/* base_ms, cap_ms, tries, call_timeout_ms: whoever asks, asks again later. */
static const struct retry_policy policy = { 200, 1000, 2, 5000 };

void access_reason(struct access_answer *ret, enum access_verdict verdict, const char *fmt, ...)
{
    va_list ap;

    *ret = (struct access_answer){ .verdict = verdict };
    va_start(ap, fmt);
    (void)vsnprintf(ret->reason, sizeof ret->reason, fmt, ap);
    va_end(ap);
}

void access_remedy(struct access_answer *ret, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(ret->remedy, sizeof ret->remedy, fmt, ap);
    va_end(ap);
}

static void granted(struct access_answer *ret)
{
    *ret = (struct access_answer){ .verdict = ACCESS_GRANTED };
}

/* ---- what stands in the way of a call ---- */

/* libcurl says it in words; the words are those of all its versions in use. */
static const char *obstacle(enum err_code rc, const char *message)
{
    if (rc == ERR_PROTOCOL || rc == ERR_TOO_LARGE)
        return "what answers is not the service that was meant: check the setting that names its host, and whether a "
               "proxy answers in its place";
    if (strstr(message, "the proxy of HTTPS_PROXY") || strstr(message, "esolve proxy"))
        return "the proxy that HTTPS_PROXY names does not lead there: correct it, unset it, or name in NO_PROXY the "
               "hosts "
               "that are reached without it";
    if (strstr(message, "esolve host") || strstr(message, "esolving timed out"))
        return "the name does not resolve: check the name server of this machine, and the setting that names the host";
    if (strstr(message, "SSL") || strstr(message, "certificate") || strstr(message, "TLS"))
        return "the connection cannot be trusted: check the clock of this machine, its authorities (package "
               "ca-certificates) and whether a proxy stands between";
    if (strstr(message, "onnect"))
        return "nothing answers at that address: is the server running, and does the network (firewall, VPC egress) "
               "let "
               "this machine reach it?";
    return "there is no whole answer in time: it is asked again by itself";
}

void access_judge_failure(enum err_code rc, const char *message, struct access_answer *ret)
{
    bool final = rc == ERR_DENIED || rc == ERR_INVALID || rc == ERR_UNSUPPORTED;

    access_reason(ret, final ? ACCESS_REFUSED : ACCESS_UNSURE, "%s", *message ? message : err_name(rc));
    if (!final)
        access_remedy(ret, "%s", obstacle(rc, message));
}

/* "HTTP " and a status; HTTPS_PROXY is another word. */
void access_keys(enum err_code rc, const char *message, struct access_answer *ret)
{
    access_judge_failure(rc, message, ret);
    if (strstr(message, "HTTP ") || rc == ERR_PROTOCOL || ret->verdict == ACCESS_REFUSED)
        access_remedy(ret,
                      "what answers has no keys: is OIDC_CERTS_URL right? Google's own is used where it is not set");
}

/* ---- one question ---- */

/* Two shapes: {"error":{...}}, and [{"error":{...}}] from methods that stream. */
static void read_body(struct span body, struct arena *a, struct access_reply *ret)
{
    const struct json *error;

    if (json_parse(a, body, DEPTH_MAX, &ret->root, NULL)) {
        ret->root = NULL;
        return;
    }
    error = json_get(json_type(ret->root) == JSON_T_ARRAY ? json_at(ret->root, 0) : ret->root, "error");
    ret->word = json_text(json_get(error, "status"));
    ret->message = json_text(json_get(error, "message"));
}

void access_ask(const struct access *x, const struct access_question *q, const struct budget *budget, struct arena *a,
                struct access_reply *ret)
{
    struct http_request req = {
        .method = q->method, .url = q->url, .body = q->body, .max_reply_bytes = REPLY_MAX, .allow_plain = q->allow_plain
    };
    const struct api_call call = { .http = x->http,
                                   .gauth = x->gauth,
                                   .service = q->service,
                                   .policy = &policy,
                                   .budget = budget,
                                   .judge = api_judge };
    struct http_reply reply = { 0 };
    struct err err = { 0 };

    if (q->body.len)
        http_request_header(&req, "Content-Type", "application/json");
    *ret = (struct access_reply){ .word = "", .message = "" };
    ret->rc = api_send(&call, &req, a, &reply, &err);
    if (ret->rc == ERR_TOO_LARGE && reply.status) /* a page of somebody else: its number says enough */
        ret->rc = ERR_OK;
    (void)snprintf(ret->failure, sizeof ret->failure, "%s", err.msg);
    ret->status = reply.status;
    if (!ret->rc)
        read_body(reply.body, a, ret);
}

/* ---- what all services have in common ---- */

const char *access_account(const struct access *x, const struct budget *budget, char buf[GAUTH_ACCOUNT_SIZE])
{
    return gauth_account(x->gauth, budget, buf) ? buf : "ACCOUNT-OF-THE-WORKER";
}

/* Of a service that the project has never used: Google's own messages. */
static bool is_switched_off(const struct access_reply *r)
{
    return strstr(r->message, "has not been used in project") || strstr(r->message, "it is disabled") ||
           strstr(r->message, "API has not been enabled");
}

/* Of a perimeter around the project, which no role opens. */
static bool is_outside(const struct access_reply *r)
{
    return strstr(r->message, "prohibited by organization's policy") || strstr(r->message, "VPC Service Controls") ||
           strstr(r->message, "vpcServiceControls");
}

static bool is_unpaid(const struct access_reply *r)
{
    return strstr(r->message, "requires billing") || strstr(r->message, "billing account") ||
           strstr(r->message, "account for the specified project has been disabled");
}

static bool asks_metadata_server(const struct gauth *g)
{
    return strcmp(gauth_source(g), "metadata server") == 0;
}

static void token_is_refused(const struct access *x, const char *what, const struct access_reply *r,
                             const struct budget *budget, struct access_answer *ret)
{
    char account[GAUTH_ACCOUNT_SIZE];

    access_reason(ret, ACCESS_REFUSED, "%s refuses the access token, also a fresh one (HTTP 401 %s): %.200s", what,
                  r->word, r->message);
    if (asks_metadata_server(x->gauth)) {
        access_remedy(ret,
                      "the account of this machine was disabled or deleted: gcloud iam service-accounts describe %s",
                      access_account(x, budget, account));
        return;
    }
    access_remedy(ret,
                  "the key of the service account was deleted or disabled, or the clock of this machine is wrong; the "
                  "keys there are: gcloud iam service-accounts keys list --iam-account=%s",
                  access_account(x, budget, account));
}

bool access_judge_common(const struct access *x, const char *what, const struct access_reply *r,
                         const struct budget *budget, struct access_answer *ret)
{
    char account[GAUTH_ACCOUNT_SIZE];

    if (r->rc) {
        access_judge_failure(r->rc, r->failure, ret);
        return true;
    }
    if (r->status == 401) {
        token_is_refused(x, what, r, budget, ret);
        return true;
    }
    if (is_switched_off(r)) {
        access_reason(ret, ACCESS_REFUSED, "%s: the service is not enabled in its project (HTTP %d): %.160s", what,
                      r->status, r->message);
        access_remedy(
            ret,
            "gcloud services enable firestore.googleapis.com storage.googleapis.com pubsub.googleapis.com --project=%s",
            x->project);
        return true;
    }
    if (strstr(r->message, "authentication scopes") || strstr(r->message, "scope(s) are not authorized")) {
        access_reason(ret, ACCESS_REFUSED, "%s: the token of this machine is not made for it (HTTP %d): %.160s", what,
                      r->status, r->message);
        access_remedy(ret, "gcloud compute instances set-service-account INSTANCE --scopes=cloud-platform");
        return true;
    }
    if (is_unpaid(r)) {
        access_reason(ret, ACCESS_REFUSED, "%s: its project has no working billing account (HTTP %d): %.160s", what,
                      r->status, r->message);
        access_remedy(ret, "gcloud billing projects link %s --billing-account=BILLING-ACCOUNT", x->project);
        return true;
    }
    if (is_outside(r)) {
        access_reason(ret, ACCESS_REFUSED, "%s: a perimeter of VPC Service Controls keeps us out (HTTP %d): %.200s",
                      what, r->status, r->message);
        access_remedy(
            ret,
            "let this service's network or the account %s into the perimeter; what was refused: gcloud logging "
            "read 'protoPayload.metadata.vpcServiceControlsUniqueId:*' --project=%s",
            access_account(x, budget, account), x->project);
        return true;
    }
    if (http_status_is_transient(r->status)) {
        access_reason(ret, ACCESS_UNSURE, "%s answers HTTP %d %s: %.200s", what, r->status, r->word, r->message);
        access_remedy(ret, "this may pass: it is asked again by itself");
        return true;
    }
    return false;
}

/* ---- project and access token ---- */

#define NO_CREDENTIALS                                                                                            \
    "neither FIREBASE_CREDENTIALS nor GOOGLE_APPLICATION_CREDENTIALS is set, so the metadata server of Google's " \
    "machines is asked: "

void access_project(const struct gauth *g, enum err_code rc, const char *message, struct access_answer *ret)
{
    access_judge_failure(rc, message, ret);
    if (ret->verdict == ACCESS_UNSURE && asks_metadata_server(g))
        access_remedy(ret, NO_CREDENTIALS "outside Google Cloud set FIREBASE_CREDENTIALS to the JSON key of a service "
                                          "account (which names the project, too)");
    else
        access_remedy(ret, "set GOOGLE_CLOUD_PROJECT to the project that holds the documents: gcloud projects list");
}

/* Of both services: one of them may be an emulator. */
void access_token(const struct access *x, const struct budget *budget, struct arena *a, struct access_answer *ret)
{
    static const enum gauth_service services[] = { GAUTH_FIRESTORE, GAUTH_STORAGE };

    for (size_t i = 0; i < sizeof services / sizeof *services; i++) {
        struct err err = { 0 };
        const char *header;
        enum err_code rc = gauth_header(x->gauth, services[i], budget, a, &header, &err);

        if (!rc)
            continue;
        access_judge_failure(rc, err.msg, ret);
        if (asks_metadata_server(x->gauth))
            access_remedy(ret, NO_CREDENTIALS "outside Google Cloud set one of them; on Cloud Run attach an account: "
                                              "gcloud run services update SERVICE --service-account=ACCOUNT");
        else if (ret->verdict == ACCESS_REFUSED)
            access_remedy(ret,
                          "the key of the service account is refused: was it deleted or disabled, and is the clock "
                          "of this machine right?");
        return;
    }
    granted(ret);
}

/* ---- the database ---- */

static void database_is_missing(const struct access *x, const struct access_reply *r, struct access_answer *ret)
{
    access_reason(ret, ACCESS_REFUSED, "the database %s does not exist in the project %s (HTTP 404): %.160s",
                  x->database, x->project, r->message);
    access_remedy(
        ret,
        "gcloud firestore databases create --project=%s --database='%s' --location=LOCATION "
        "--type=firestore-native (or name the right one: FIRESTORE_DATABASE, GOOGLE_CLOUD_PROJECT; a project's "
        "first is called (default), in parentheses: gcloud firestore databases list --project=%s)",
        x->project, x->database, x->project);
}

static void database_is_denied(const struct access *x, const char *permission, const struct access_reply *r,
                               const struct budget *budget, struct access_answer *ret)
{
    char account[GAUTH_ACCOUNT_SIZE];

    access_reason(
        ret, ACCESS_REFUSED,
        "the database %s of the project %s refuses us (HTTP 403 %s): the role roles/datastore.user is missing, "
        "which has %s: %.120s",
        x->database, x->project, r->word, permission, r->message);
    access_remedy(ret,
                  "gcloud projects add-iam-policy-binding %s --member=serviceAccount:%s --role=roles/datastore.user "
                  "--condition=None (if that is the right project: GOOGLE_CLOUD_PROJECT)",
                  x->project, access_account(x, budget, account));
}

/* A message about the document that was asked for says that there is a database to hold it. Projects and databases may
 * have any word in their names, so a message is judged by how it begins. */
static bool is_about_the_document(const struct access_reply *r)
{
    return strstr(r->message, "/documents/" ACCESS_PROBE_DOCUMENT) || strncasecmp(r->message, "document", 8) == 0;
}

/* Of a 200: somebody has made the document. A page of a proxy or another server is none. */
static bool is_the_document(const struct access_reply *r)
{
    return strstr(json_text(json_get(r->root, "name")), "/documents/" ACCESS_PROBE_DOCUMENT);
}

static void it_is_not_firestore(const struct access *x, const struct access_reply *r, struct access_answer *ret)
{
    access_reason(ret, ACCESS_REFUSED,
                  "what answers at %s is not Firestore: HTTP %d, and no word about the document asked for: %.160s",
                  x->firestore->base, r->status, r->message);
    access_remedy(ret,
                  "check FIRESTORE_EMULATOR_HOST, which must be unset for Google's own service, and whether a proxy "
                  "answers in its place");
}

/* NOT_FOUND without a word about what: it is left to the first job, rather than keeping the worker from all of them. */
static void judge_database_404(const struct access *x, const struct access_reply *r, struct access_answer *ret)
{
    if (is_about_the_document(r) || (strcmp(r->word, "NOT_FOUND") == 0 && !*r->message)) {
        granted(ret);
    } else if (strncasecmp(r->message, "project", 7) != 0 && strstr(r->message, "atabase")) {
        database_is_missing(x, r, ret);
    } else if (strstr(r->message, "roject")) {
        access_reason(ret, ACCESS_REFUSED, "the project %s does not exist (HTTP 404): %.200s", x->project, r->message);
        access_remedy(ret, "set GOOGLE_CLOUD_PROJECT to the project that holds the documents: gcloud projects list");
    } else if (strcmp(r->word, "NOT_FOUND") == 0) { /* Firestore itself; a job is careful with such an answer */
        granted(ret);
    } else {
        it_is_not_firestore(x, r, ret);
    }
}

static void judge_database(const struct access *x, const char *permission, const struct access_reply *r,
                           const struct budget *budget, struct access_answer *ret)
{
    if (access_judge_common(x, "the database", r, budget, ret))
        return;
    if (r->status == 200) {
        it_is_not_firestore(x, r, ret);
    } else if (r->status == 404) {
        judge_database_404(x, r, ret);
    } else if (r->status == 403) {
        database_is_denied(x, permission, r, budget, ret);
    } else if (r->status == 409) { /* contention */
        access_reason(ret, ACCESS_UNSURE, "the database answers HTTP 409 %s: %.200s", r->word, r->message);
    } else {
        access_reason(ret, ACCESS_REFUSED, "the database %s of the project %s cannot be used (HTTP %d %s): %.200s",
                      x->database, x->project, r->status, r->word, r->message);
        access_remedy(ret,
                      strstr(r->message, "Datastore Mode")
                          ? "create a database in native mode and name it in FIRESTORE_DATABASE: gcloud firestore "
                            "databases create --project=%s --database=NAME --location=LOCATION "
                            "--type=firestore-native"
                          : "check FIRESTORE_DATABASE and GOOGLE_CLOUD_PROJECT (%s)",
                      x->project);
    }
}

static enum err_code ask_to_read(const struct access *x, const struct budget *budget, struct arena *a,
                                 struct access_reply *ret, struct err *err)
{
    struct access_question q = { .method = "GET", .service = GAUTH_FIRESTORE, .allow_plain = x->firestore->emulator };
    char *url;

    TRY(arena_printf(a, &url, err, "%s/%s/" ACCESS_PROBE_DOCUMENT "?mask.fieldPaths=probe", x->firestore->base,
                     x->firestore->documents));
    q.url = url;
    access_ask(x, &q, budget, a, ret);
    return ERR_OK;
}

/* A commit that is allowed and cannot succeed: it changes a document that does not exist, if it exists. If somebody has
 * made it, a field that it does not have is removed from it. */
static enum err_code ask_to_write(const struct access *x, const struct budget *budget, struct arena *a,
                                  struct access_reply *ret, struct err *err)
{
    struct access_question q = { .method = "POST", .service = GAUTH_FIRESTORE, .allow_plain = x->firestore->emulator };
    char *url, *body;

    TRY(arena_printf(a, &url, err, "%s/%s:commit", x->firestore->base, x->firestore->documents));
    TRY(arena_printf(a, &body, err,
                     "{\"writes\":[{\"update\":{\"name\":\"%s/" ACCESS_PROBE_DOCUMENT "\",\"fields\":{}},"
                     "\"updateMask\":{\"fieldPaths\":[\"probe\"]},\"currentDocument\":{\"exists\":true}}]}",
                     x->firestore->documents));
    q.url = url;
    q.body = span_of(body);
    access_ask(x, &q, budget, a, ret);
    return ERR_OK;
}

static enum err_code ask_database(const struct access *x, const struct budget *budget, struct arena *a,
                                  struct access_answer *ret, struct err *err)
{
    struct access_reply r;

    TRY(ask_to_read(x, budget, a, &r, err));
    if (!r.rc && r.status == 200 && is_the_document(&r))
        granted(ret);
    else
        judge_database(x, "datastore.entities.get", &r, budget, ret);
    if (ret->verdict != ACCESS_GRANTED)
        return ERR_OK;
    TRY(ask_to_write(x, budget, a, &r, err));
    if (r.rc || r.status == 401 || r.status == 403 || http_status_is_transient(r.status))
        judge_database(x, "datastore.entities.update", &r, budget, ret);
    return ERR_OK; /* any other answer: the reading has shown that the database is there */
}

void access_database(const struct access *x, const struct budget *budget, struct arena *a, struct access_answer *ret)
{
    struct err err = { 0 };
    enum err_code rc = ask_database(x, budget, a, ret, &err);

    if (rc)
        access_judge_failure(rc, err.msg, ret);
}
