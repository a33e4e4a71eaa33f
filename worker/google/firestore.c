#include "worker/google/firestore.h"

#include <ctype.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/json_scan.h"
#include "worker/base/json.h"
#include "worker/base/members.h"
#include "worker/base/names.h"
#include "worker/base/rfc3339.h"
#include "worker/google/api.h"

enum {
    COMMIT_REPLY_MAX = 1 << 20,
    COMMIT_DEPTH_MAX = 30,
    MESSAGE_SIZE = 4096 /* of an error: room for the name of a document, whose two ids have up to 512 bytes each */
};

/* PROTOCOL.md 7. In this order: base_ms, cap_ms, tries, call_timeout_ms. */
static const struct retry_policy read_policy = { 100, 5000, 5, 10000 };
const struct retry_policy firestore_claim_policy = { 100, 5000, 5, 10000 };
const struct retry_policy firestore_result_policy = { 250, 10000, 8, 10000 };
const struct retry_policy firestore_progress_policy = { 0, 0, 1, 3000 };

static bool is_set(const char *text)
{
    return text && *text;
}

enum err_code firestore_init(struct firestore *fs, const struct firestore_options *o, struct arena *a, struct err *err)
{
    bool emulator = is_set(o->emulator_host);
    const char *database = is_set(o->database) ? o->database : "(default)";
    _Atomic bool *answered;
    char *base, *documents;

    if (emulator && !host_is_valid(o->emulator_host))
        return err_set(err, ERR_INVALID, "FIRESTORE_EMULATOR_HOST: '%.100s' is not host:port", o->emulator_host);
    if (emulator)
        TRY(arena_printf(a, &base, err, "http://%s/v1", o->emulator_host));
    else
        TRY(arena_printf(a, &base, err, "https://firestore.googleapis.com/v1"));
    TRY(arena_printf(a, &documents, err, "projects/%s/databases/%s/documents", o->project, database));
    TRY(arena_alloc(a, 1, sizeof *answered, &answered, err));
    *fs = (struct firestore){ o->http, o->gauth, base, documents, emulator, answered };
    return ERR_OK;
}

/* ---- what an answer means ---- */

/* For an answer without error.status, as a proxy, a front end or another program on that port may give. */
static enum firestore_outcome classify_number(enum firestore_call call, int http_status)
{
    if (http_status == 401)
        return FIRESTORE_NEW_TOKEN;
    if (http_status == 403)
        return FIRESTORE_REFUSED;
    if (http_status == 429)
        return FIRESTORE_RETRY;
    if (http_status == 409)
        return call == FIRESTORE_READ ? FIRESTORE_RETRY : FIRESTORE_REREAD;
    if (http_status == 408 || http_status == 499 || http_status >= 500)
        return call == FIRESTORE_READ ? FIRESTORE_RETRY : FIRESTORE_UNKNOWN;
    return FIRESTORE_FOREIGN; /* a bare 404, too: it does not say that the document is missing */
}

enum firestore_outcome firestore_classify(enum firestore_call call, int http_status, struct span body)
{
    static const struct {
        const char *status;
        enum firestore_outcome outcome[2]; /* for a read, for a conditional write */
    } table[] = {
        { "INVALID_ARGUMENT", { FIRESTORE_FINAL, FIRESTORE_FINAL } },
        { "OUT_OF_RANGE", { FIRESTORE_FINAL, FIRESTORE_FINAL } },
        { "FAILED_PRECONDITION", { FIRESTORE_FINAL, FIRESTORE_REREAD } },
        { "UNAUTHENTICATED", { FIRESTORE_NEW_TOKEN, FIRESTORE_NEW_TOKEN } },
        { "PERMISSION_DENIED", { FIRESTORE_REFUSED, FIRESTORE_REFUSED } },
        { "NOT_FOUND", { FIRESTORE_ABSENT, FIRESTORE_ABSENT } },
        { "ALREADY_EXISTS", { FIRESTORE_FINAL, FIRESTORE_REREAD } },
        { "ABORTED", { FIRESTORE_RETRY, FIRESTORE_REREAD } },
        { "RESOURCE_EXHAUSTED", { FIRESTORE_RETRY, FIRESTORE_RETRY } },
        { "CANCELLED", { FIRESTORE_RETRY, FIRESTORE_UNKNOWN } },
        { "INTERNAL", { FIRESTORE_RETRY, FIRESTORE_UNKNOWN } },
        { "UNKNOWN", { FIRESTORE_RETRY, FIRESTORE_UNKNOWN } },
        { "UNAVAILABLE", { FIRESTORE_RETRY, FIRESTORE_UNKNOWN } },
        { "DEADLINE_EXCEEDED", { FIRESTORE_RETRY, FIRESTORE_UNKNOWN } },
    };
    char status[32];

    if (http_status == 200)
        return FIRESTORE_DONE;
    if (api_error_text(body, "status", status, sizeof status))
        for (size_t i = 0; i < sizeof table / sizeof *table; i++)
            if (strcmp(table[i].status, status) == 0)
                return table[i].outcome[call];
    return classify_number(call, http_status);
}

/* For a try without a whole answer. reply->status is 0 if not even a head came. */
static enum firestore_outcome classify_failure(enum firestore_call call, enum err_code rc,
                                               const struct http_reply *reply)
{
    if (rc == ERR_UNAVAILABLE)
        return FIRESTORE_RETRY;
    if (rc == ERR_TOO_LARGE && reply->status && reply->status != 200)
        return classify_number(call, reply->status);
    if (call == FIRESTORE_CONDITIONAL_WRITE)
        return FIRESTORE_UNKNOWN;
    return rc == ERR_UNKNOWN_OUTCOME ? FIRESTORE_RETRY : FIRESTORE_FINAL;
}

static enum api_next judge(void *ctx, enum err_code rc, const struct http_reply *reply)
{
    const enum firestore_call *call = ctx;

    switch (rc ? classify_failure(*call, rc, reply) : firestore_classify(*call, reply->status, reply->body)) {
    case FIRESTORE_RETRY:
        return API_RETRY;
    case FIRESTORE_NEW_TOKEN:
        return API_NEW_TOKEN;
    default:
        return API_TAKE;
    }
}

/* ---- what was not found ---- */

/* Where `what` begins in the text, in any case and over the backslashes that the emulator writes before slashes; its
 * end in *ret_end. */
static bool finds_at(const char *text, const char *what, const char **ret_end)
{
    for (; *what; text++) {
        if (*text == '\\' && text[1] == '/')
            continue;
        if (tolower((unsigned char)*text) != tolower((unsigned char)*what))
            return false;
        what++;
    }
    *ret_end = text;
    return true;
}

static bool mentions(const char *text, const char *what, bool to_its_end)
{
    const char *end;

    for (; *text; text++)
        if (finds_at(text, what, &end) &&
            !(to_its_end && *end && !strchr("\"') ,;\n", *end) && strncmp(end, ". ", 2) != 0))
            return true;
    return false;
}

static bool begins_with(const char *text, const char *what)
{
    const char *end;

    return finds_at(text, what, &end);
}

enum firestore_missing firestore_missing(const char *message, const char *document)
{
    if (begins_with(message, "the database ") || begins_with(message, "project ")) /* whatever was asked of it */
        return FIRESTORE_MISSING_DATABASE;
    if (mentions(message, document, true))
        return FIRESTORE_MISSING_DOCUMENT;
    if (mentions(message, "/documents/", false) &&
        !mentions(message, "the database", false)) /* written in another way */
        return FIRESTORE_MISSING_DOCUMENT;
    if (mentions(message, "database", false) || mentions(message, "project", false))
        return FIRESTORE_MISSING_DATABASE;
    return FIRESTORE_MISSING_UNSAID;
}

/* ---- errors ---- */

/* What an operator can do about it. */
static const char *remedy(enum firestore_outcome outcome)
{
    if (outcome == FIRESTORE_REFUSED)
        return " (does the service account have the role roles/datastore.user?)";
    if (outcome == FIRESTORE_NEW_TOKEN)
        return " (a fresh token is refused, too: has the key been deleted?)";
    if (outcome == FIRESTORE_FOREIGN)
        return " (not an answer of Firestore: does a proxy stand before it?)";
    return "";
}

/* One call about one document. */
struct operation {
    enum firestore_call call;
    const char *document;
    const struct retry_policy *policy;
    const struct budget *budget;
};

/* NOT_FOUND may mean the document, which ends a job, or all documents, which is an outage and must not. */
static enum err_code not_found(const struct firestore *fs, const struct operation *op, const char *message,
                               struct err *err)
{
    enum firestore_missing missing = firestore_missing(message, op->document);

    if (missing == FIRESTORE_MISSING_DOCUMENT)
        atomic_store(fs->answered, true);
    if (missing == FIRESTORE_MISSING_DOCUMENT || (missing == FIRESTORE_MISSING_UNSAID && atomic_load(fs->answered)))
        return err_set(err, ERR_NOT_FOUND, "firestore: no document '%.80s': %.80s", op->document, message);
    return err_set(err, ERR_UNAVAILABLE,
                   "firestore: %.120s is not there (create the database, or set GOOGLE_CLOUD_PROJECT and "
                   "FIRESTORE_DATABASE to those that hold the sessions): %.120s",
                   fs->documents, message);
}

static enum err_code refusal(const struct firestore *fs, const struct operation *op, const struct http_reply *reply,
                             struct err *err)
{
    static const enum err_code codes[] = {
        [FIRESTORE_RETRY] = ERR_UNAVAILABLE, [FIRESTORE_NEW_TOKEN] = ERR_DENIED,
        [FIRESTORE_REREAD] = ERR_CONFLICT,   [FIRESTORE_UNKNOWN] = ERR_UNKNOWN_OUTCOME,
        [FIRESTORE_ABSENT] = ERR_NOT_FOUND,  [FIRESTORE_REFUSED] = ERR_DENIED,
        [FIRESTORE_FINAL] = ERR_INVALID,     [FIRESTORE_FOREIGN] = ERR_UNAVAILABLE,
    };
    enum firestore_outcome outcome = firestore_classify(op->call, reply->status, reply->body);
    char status[32], message[MESSAGE_SIZE];

    (void)api_error_text(reply->body, "status", status, sizeof status);
    (void)api_error_text(reply->body, "message", message, sizeof message);
    if (outcome == FIRESTORE_ABSENT)
        return not_found(fs, op, message, err);
    return err_set(err, codes[outcome], "firestore: %s '%.80s': HTTP %d %s%s: %.80s",
                   op->call == FIRESTORE_READ ? "get" : "commit", op->document, reply->status, status, remedy(outcome),
                   message);
}

/* Sends the request until there is a 200, or returns the error that the last answer means. */
static enum err_code perform(const struct firestore *fs, const struct operation *op, struct http_request *req,
                             struct arena *a, struct http_reply *reply, struct err *err)
{
    enum firestore_call call = op->call;
    struct api_call api = { .http = fs->http,
                            .gauth = fs->gauth,
                            .service = GAUTH_FIRESTORE,
                            .policy = op->policy,
                            .budget = op->budget,
                            .judge = judge,
                            .ctx = &call };
    struct err why = { 0 };
    enum err_code rc;

    req->max_reply_bytes = call == FIRESTORE_READ ? FIRESTORE_REPLY_MAX : COMMIT_REPLY_MAX;
    req->allow_plain = fs->emulator;
    rc = api_send(&api, req, a, reply, &why);
    if (rc == ERR_TOO_LARGE && reply->status && reply->status != 200)
        return refusal(fs, op, reply, err);
    if (rc == ERR_TOO_LARGE) /* callers take this code to mean that an input is too large */
        rc = call == FIRESTORE_READ ? ERR_PROTOCOL : ERR_UNKNOWN_OUTCOME;
    if (rc == ERR_UNKNOWN_OUTCOME && call == FIRESTORE_READ)
        rc = ERR_UNAVAILABLE;
    if (rc)
        return err_set(err, rc, "firestore: '%.80s': %s", op->document, why.msg);
    return reply->status == 200 ? ERR_OK : refusal(fs, op, reply, err);
}

/* ---- field paths ---- */

/* The segments of a path, unquoted, in one buffer. */
struct path {
    char text[FIRESTORE_NAME_MAX];
    const char *segments[FIRESTORE_PATH_DEPTH_MAX];
    int n;
};

static bool is_bare(struct span name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';

        if (!letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return name.len > 0;
}

/* Copies the segment at *at to out and moves *at behind it. Returns its length; 0: it is malformed. */
static size_t take_segment(const char **at, char *out)
{
    const char *p = *at;
    size_t n = 0;

    if (*p != '`') {
        n = strcspn(p, ".");
        memcpy(out, p, n);
        *at = p + n;
        return is_bare((struct span){ out, n }) ? n : 0;
    }
    for (p++; *p && *p != '`'; p++) {
        if (*p == '\\' && (p[1] == '`' || p[1] == '\\'))
            p++;
        out[n++] = *p;
    }
    *at = p + 1;
    return *p ? n : 0;
}

static enum err_code parse_path(const char *text, struct path *ret, struct err *err)
{
    const char *at = text;
    char *out = ret->text;

    ret->n = 0;
    if (strlen(text) >= sizeof ret->text / 2)
        return err_set(err, ERR_INVALID, "firestore: a field path of %zu bytes", strlen(text));
    for (;;) {
        size_t n = ret->n < FIRESTORE_PATH_DEPTH_MAX ? take_segment(&at, out) : 0;

        if (!n || (*at && *at != '.'))
            return err_set(err, ERR_INVALID, "firestore: '%.80s' is not a field path", text);
        ret->segments[ret->n++] = out;
        out[n] = 0;
        out += n + 1;
        if (!*at)
            return ERR_OK;
        at++;
    }
}

/* ---- reading ---- */

/* base/documents/users/U/sessions/S, each segment percent-encoded. */
static enum err_code document_url(const struct firestore *fs, const char *document, struct arena *a, char **ret,
                                  struct err *err)
{
    char *path;

    TRY(http_encode_path(a, document, &path, err));
    return arena_printf(a, ret, err, "%s/%s%s", fs->base, fs->documents, path);
}

static enum err_code get_url(const struct firestore *fs, const char *document, struct firestore_mask mask,
                             struct arena *a, char **ret, struct err *err)
{
    TRY(document_url(fs, document, a, ret, err));
    for (int i = 0; i < mask.n; i++) {
        char *path;

        TRY(http_encode(a, span_of(mask.paths[i]), &path, err));
        TRY(arena_printf(a, ret, err, "%s%cmask.fieldPaths=%s", *ret, i ? '&' : '?', path));
    }
    /* White space in front of 40,000 values can be longer than they are. */
    return arena_printf(a, ret, err, "%s%cprettyPrint=false", *ret, mask.n ? '&' : '?');
}

static enum err_code not_understood(const char *document, const char *what, struct err *err)
{
    return err_set(err, ERR_PROTOCOL, "firestore: get '%.80s' answers with %s", document, what);
}

/* A 200 proves nothing yet: where a server reads the name as another path, it answers {} (PROTOCOL.md 4.1). */
static enum err_code read_document(const struct firestore *fs, const char *document, struct span body, struct arena *a,
                                   struct firestore_document *ret, struct err *err)
{
    static const char *const names[] = { "name", "updateTime", "fields" };
    struct span name, update_time, fields;
    struct stored members[3];
    struct err why = { 0 };
    char *want;

    TRY(arena_printf(a, &want, err, "%s/%s", fs->documents, document));
    if (json_check_any(body, FIRESTORE_DEPTH_MAX, &why))
        return not_understood(document, why.msg, err);
    stored_pick(body, names, members, 3);
    TRY(stored_unescape(members[0].json, a, &name, err));
    TRY(stored_unescape(members[1].json, a, &update_time, err));
    fields = members[2].json;
    if (!name.ptr || !span_is(name, want))
        return not_understood(document, name.ptr ? "another document" : "no document", err);
    if (!update_time.len || update_time.len >= FIRESTORE_TIME_SIZE || memchr(update_time.ptr, 0, update_time.len))
        return not_understood(document, "no updateTime", err);
    if (fields.len && *fields.ptr != '{')
        return not_understood(document, "fields that are not an object", err);
    atomic_store(fs->answered, true);
    ret->update_time = update_time.ptr;
    ret->fields = fields;
    return ERR_OK;
}

/* The clock of whoever answered: "Sun, 06 Nov 1994 08:49:37 GMT". 0: there is none, or not one of this century. */
static int64_t server_time(const struct http_reply *reply)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const int64_t from_2020 = INT64_C(1577836800) * 1000000, to_2100 = INT64_C(4102444800) * 1000000;
    const char *date = http_reply_header(reply, "date"), *found;
    int day, year, hour, minute, second, n = 0;
    char month[4], text[32];
    int64_t us;

    if (!date ||
        sscanf(date, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &day, month, &year, &hour, &minute, &second,
               &n) != 6 ||
        !n || date[n])
        return 0;
    found = strstr(months, month);
    if (strlen(month) != 3 || !found || (found - months) % 3 || year < 0 || day < 0 || hour < 0 || minute < 0 ||
        second < 0)
        return 0;
    (void)snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02dZ", year % 10000, (int)(found - months) / 3 + 1,
                   day % 100, hour % 100, minute % 100, second % 100);
    return rfc3339_parse(span_of(text), &us) && us >= from_2020 && us < to_2100 ? us : 0;
}

enum err_code firestore_get(const struct firestore *fs, const char *document, struct firestore_mask mask,
                            const struct budget *budget, struct arena *a, struct firestore_document *ret,
                            struct err *err)
{
    const struct operation op = { FIRESTORE_READ, document, &read_policy, budget };
    struct http_request req = { .method = "GET" };
    struct http_reply reply = { 0 };
    enum err_code rc;
    char *url;

    *ret = (struct firestore_document){ 0 };
    TRY(get_url(fs, document, mask, a, &url, err));
    req.url = url;
    rc = perform(fs, &op, &req, a, &reply, err);
    ret->server_us = server_time(&reply);
    return rc ? rc : read_document(fs, document, reply.body, a, ret, err);
}

static enum err_code write_batch_get(const struct firestore *fs, const char *document, struct arena *a, char **ret,
                                     struct err *err)
{
    struct json *root = json_new_object(a);
    char *name;

    TRY(arena_printf(a, &name, err, "%s/%s", fs->documents, document));
    json_add_string(json_add_array(root, "documents"), NULL, name);
    json_add_string(json_add_array(json_add_object(root, "mask"), "fieldPaths"), NULL, "none"); /* of what it holds */
    return json_print(a, root, ret, err);
}

enum err_code firestore_read_time(const struct firestore *fs, const char *document, const struct budget *budget,
                                  struct arena *a, int64_t *ret_us, struct err *err)
{
    const struct operation op = { FIRESTORE_READ, document, &firestore_progress_policy, budget };
    struct http_request req = { .method = "POST" };
    struct member read_time = { .name = "readTime" };
    struct http_reply reply = { 0 };
    enum json_event type;
    char *url, *body, text[FIRESTORE_TIME_SIZE];
    struct span element;
    struct err why = { 0 };
    enum err_code rc;
    size_t at = 0;

    TRY(arena_printf(a, &url, err, "%s/%s:batchGet", fs->base, fs->documents));
    TRY(write_batch_get(fs, document, a, &body, err));
    req.url = url;
    req.body = span_of(body);
    http_request_header(&req, "Content-Type", "application/json");
    rc = perform(fs, &op, &req, a, &reply, &why);
    if (rc && reply.status && firestore_classify(FIRESTORE_READ, reply.status, reply.body) == FIRESTORE_FOREIGN)
        rc = ERR_PROTOCOL; /* a server that does not know this call */
    if (rc)
        return err_set(err, rc, "%s", why.msg);
    if (!members_next(reply.body, &at, &type, &element) || members_read(element, &read_time, 1, NULL) ||
        !member_text(&read_time, text, sizeof text) || !rfc3339_parse(span_of(text), ret_us) || *ret_us <= 0)
        return not_understood(document, "no readTime", err);
    return ERR_OK;
}

/* ---- writing ---- */

/* The fields of a patch, as the tree of maps that their paths describe. */
struct node {
    const char *name;
    const struct firestore_value *leaf; /* NULL: a map of its children */
    struct node *child, *next;
};

static enum err_code find_or_add(struct node *parent, const char *name, struct arena *a, struct node **ret,
                                 bool *ret_added, struct err *err)
{
    struct node **link = &parent->child;
    char *copy;

    while (*link && strcmp((*link)->name, name) != 0)
        link = &(*link)->next;
    *ret_added = !*link;
    if (!*link) {
        if (arena_alloc(a, 1, sizeof **link, link, err) || span_dup(a, span_of(name), &copy, err))
            return ERR_NOMEM;
        (*link)->name = copy;
    }
    *ret = *link;
    return ERR_OK;
}

static enum err_code add_field(struct node *root, const struct firestore_field *field, struct arena *a, struct err *err)
{
    struct node *node = root;
    bool added = false;
    struct path p;

    TRY(parse_path(field->name, &p, err));
    for (int i = 0; i < p.n && !node->leaf; i++)
        TRY(find_or_add(node, p.segments[i], a, &node, &added, err));
    if (!added || node->leaf)
        return err_set(err, ERR_INVALID, "firestore: '%.80s' overlaps with another path of the patch", field->name);
    node->leaf = &field->value;
    return ERR_OK;
}

static enum err_code write_members(struct json *to, const struct firestore_value *v, struct err *err);

static enum err_code write_array(struct json *to, const struct firestore_value *v, struct err *err)
{
    struct json *values = json_add_array(json_add_object(to, "arrayValue"), "values");

    for (int i = 0; i < v->n; i++) {
        if (v->values[i].type == FIRESTORE_ARRAY)
            return err_set(err, ERR_INVALID, "firestore: an array may not hold an array");
        TRY(write_members(json_add_object(values, NULL), &v->values[i], err));
    }
    return ERR_OK;
}

static enum err_code write_map(struct json *to, const struct firestore_value *v, struct err *err)
{
    struct json *fields = json_add_object(json_add_object(to, "mapValue"), "fields");

    for (int i = 0; i < v->n; i++)
        TRY(write_members(json_add_object(fields, v->fields[i].name), &v->fields[i].value, err));
    return ERR_OK;
}

static void write_double(struct json *to, double d)
{
    if (isfinite(d))
        json_add_number(to, "doubleValue", d);
    else
        json_add_string(to, "doubleValue", isnan(d) ? "NaN" : d > 0 ? "Infinity" : "-Infinity");
}

/* Writes a value as its one member: {"stringValue":"x"}. */
static enum err_code write_members(struct json *to, const struct firestore_value *v, struct err *err)
{
    char text[32];

    switch (v->type) {
    case FIRESTORE_STRING:
        json_add_string(to, "stringValue", v->string);
        return ERR_OK;
    case FIRESTORE_INTEGER: /* as text: a JSON number is read as a double, which loses digits */
        (void)snprintf(text, sizeof text, "%lld", (long long)v->integer);
        json_add_string(to, "integerValue", text);
        return ERR_OK;
    case FIRESTORE_DOUBLE:
        write_double(to, v->number);
        return ERR_OK;
    case FIRESTORE_BOOL:
        json_add_bool(to, "booleanValue", v->integer != 0);
        return ERR_OK;
    case FIRESTORE_TIMESTAMP:
        rfc3339_format(v->integer, text);
        json_add_string(to, "timestampValue", text);
        return ERR_OK;
    case FIRESTORE_MAP:
        return write_map(to, v, err);
    case FIRESTORE_ARRAY:
        return write_array(to, v, err);
    default:
        return err_set(err, ERR_INVALID, "firestore: a value of type %d inside another value", (int)v->type);
    }
}

static bool has_values(const struct node *node)
{
    if (node->leaf)
        return node->leaf->type != FIRESTORE_DELETE;
    for (const struct node *child = node->child; child; child = child->next)
        if (has_values(child))
            return true;
    return false;
}

/* A path in the mask that the body does not have is deleted, so fields to be deleted are left out here. */
static enum err_code write_tree(struct json *fields, const struct node *parent, struct err *err)
{
    for (const struct node *node = parent->child; node; node = node->next) {
        struct json *value;

        if (!has_values(node))
            continue;
        value = json_add_object(fields, node->name);
        if (node->leaf)
            TRY(write_members(value, node->leaf, err));
        else
            TRY(write_tree(json_add_object(json_add_object(value, "mapValue"), "fields"), node, err));
    }
    return ERR_OK;
}

static enum err_code write_commit(const struct firestore *fs, const struct firestore_patch *patch, struct arena *a,
                                  char **ret, struct err *err)
{
    struct json *root = json_new_object(a), *write, *update, *mask;
    struct node tree = { .name = "" };
    char *name;

    TRY(arena_printf(a, &name, err, "%s/%s", fs->documents, patch->document));
    for (int i = 0; i < patch->n_fields; i++)
        TRY(add_field(&tree, &patch->fields[i], a, err));
    write = json_add_object(json_add_array(root, "writes"), NULL);
    update = json_add_object(write, "update");
    json_add_string(update, "name", name);
    TRY(write_tree(json_add_object(update, "fields"), &tree, err));
    mask = json_add_array(json_add_object(write, "updateMask"), "fieldPaths");
    for (int i = 0; i < patch->n_fields; i++)
        json_add_string(mask, NULL, patch->fields[i].name);
    json_add_string(json_add_object(write, "currentDocument"), "updateTime", patch->update_time);
    return json_print(a, root, ret, err);
}

/* The write has landed. Without a readable answer the next precondition is unknown: the caller must re-read. */
static enum err_code read_commit(const char *document, struct span body, struct arena *a,
                                 char ret_update_time[FIRESTORE_TIME_SIZE], struct err *err)
{
    const struct json *root = NULL, *result;
    const char *update_time;

    if (json_parse(a, body, COMMIT_DEPTH_MAX, &root, NULL))
        root = NULL;
    result = json_at(json_get(root, "writeResults"), 0);
    update_time = json_string(json_get(result, "updateTime"));
    if (!update_time || !*update_time || strlen(update_time) >= FIRESTORE_TIME_SIZE)
        return err_set(err, ERR_UNKNOWN_OUTCOME, "firestore: commit '%.80s' answers without updateTime", document);
    if (ret_update_time)
        (void)snprintf(ret_update_time, FIRESTORE_TIME_SIZE, "%s", update_time);
    return ERR_OK;
}

enum err_code firestore_patch(const struct firestore *fs, const struct firestore_patch *patch,
                              const struct budget *budget, struct arena *a, char ret_update_time[FIRESTORE_TIME_SIZE],
                              struct err *err)
{
    const struct operation op = { FIRESTORE_CONDITIONAL_WRITE, patch->document, patch->policy, budget };
    struct http_request req = { .method = "POST" };
    struct http_reply reply = { 0 };
    char *url, *body;

    if (patch->n_fields < 1)
        return err_set(err, ERR_INVALID, "firestore: a patch without fields");
    if (!is_set(patch->update_time))
        return err_set(err, ERR_INVALID, "firestore: a patch without the updateTime that it depends on");
    TRY(arena_printf(a, &url, err, "%s/%s:commit", fs->base, fs->documents));
    TRY(write_commit(fs, patch, a, &body, err));
    req.url = url;
    req.body = span_of(body);
    http_request_header(&req, "Content-Type", "application/json");
    TRY(perform(fs, &op, &req, a, &reply, err));
    return read_commit(patch->document, reply.body, a, ret_update_time, err);
}
