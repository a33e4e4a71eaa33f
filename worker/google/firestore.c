#include "worker/google/firestore.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/json_scan.h"
#include "worker/google/api.h"
#include "worker/base/members.h"
#include "worker/base/rfc3339.h"

/* PROTOCOL.md 7: base, cap, tries, one call. */
const struct retry_policy firestore_read_policy = { 100, 5000, 5, 10000 };
const struct retry_policy firestore_claim_policy = { 100, 5000, 5, 10000 };
const struct retry_policy firestore_result_policy = { 250, 10000, 8, 10000 };
const struct retry_policy firestore_progress_policy = { 0, 0, 1, 3000 };

static bool is_set(const char *text)
{
    return text && *text;
}

enum err_code firestore_init(struct firestore *fs, struct http *http, struct gauth *gauth, const struct sys *sys,
                             const char *project, const char *emulator_host, struct arena *a, struct err *err)
{
    char *base, *documents;
    bool emulator = is_set(emulator_host);
    enum err_code rc;

    if (emulator && (strlen(emulator_host) > 253 || emulator_host[strcspn(emulator_host, " /?#@\\")]))
        return err_set(err, ERR_INVALID, "FIRESTORE_EMULATOR_HOST: '%.100s' is not host:port", emulator_host);
    rc = emulator ? arena_printf(a, &base, err, "http://%s/v1", emulator_host)
                  : arena_printf(a, &base, err, "https://firestore.googleapis.com/v1");
    if (!rc)
        rc = arena_printf(a, &documents, err, "projects/%s/databases/(default)/documents", project);
    if (rc)
        return rc;
    *fs = (struct firestore){ http, gauth, sys, base, documents, emulator };
    return ERR_OK;
}

/* ---- what an answer means ---- */

/* Both shapes: {"error":{...}} and, of streaming methods, [{"error":{...}}]. */
static bool find_error(struct span body, struct span *ret)
{
    struct member error = { .name = "error" };
    enum json_event type;
    size_t at = 0;

    if (json_check(body, JSON_MAX_DEPTH, NULL))
        return false;
    if (members_next(body, &at, &type, ret))
        body = *ret;
    if (members_read(body, &error, 1, NULL) || error.type != JSON_OBJECT)
        return false;
    *ret = error.raw;
    return true;
}

static bool error_field(struct span body, const char *name, char *buf, size_t size)
{
    struct member field = { .name = name };
    struct span error;

    *buf = 0;
    return find_error(body, &error) && !members_read(error, &field, 1, NULL) && member_text(&field, buf, size);
}

/* Without a status to go by: a proxy, a front end, something else on that port. */
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
    return FIRESTORE_FINAL; /* 404 too: a page that is not there says nothing about a document */
}

enum firestore_outcome firestore_classify(enum firestore_call call, int http_status, struct span body)
{
    static const struct {
        const char *status;
        enum firestore_outcome outcome[2]; /* of a read, of a conditional write */
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
    if (error_field(body, "status", status, sizeof status))
        for (size_t i = 0; i < sizeof table / sizeof *table; i++)
            if (strcmp(table[i].status, status) == 0)
                return table[i].outcome[call];
    return classify_number(call, http_status);
}

/* A try that brought no whole answer. A reply over our limit may have a status; 0: not even that. */
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

static enum err_code refusal(enum firestore_call call, const struct http_reply *reply, const char *document,
                             struct err *err)
{
    static const enum err_code codes[] = {
        [FIRESTORE_RETRY] = ERR_UNAVAILABLE, [FIRESTORE_NEW_TOKEN] = ERR_DENIED,
        [FIRESTORE_REREAD] = ERR_CONFLICT,   [FIRESTORE_UNKNOWN] = ERR_UNKNOWN_OUTCOME,
        [FIRESTORE_ABSENT] = ERR_NOT_FOUND,  [FIRESTORE_REFUSED] = ERR_DENIED,
        [FIRESTORE_FINAL] = ERR_INVALID,
    };
    enum firestore_outcome outcome = firestore_classify(call, reply->status, reply->body);
    char status[32], message[1024];

    (void)error_field(reply->body, "status", status, sizeof status);
    (void)error_field(reply->body, "message", message, sizeof message);
    return err_set(err, codes[outcome], "firestore: %s '%.80s': HTTP %d %s: %.80s",
                   call == FIRESTORE_READ ? "get" : "commit", document, reply->status, status, message);
}

/* One call to the end: a 200, or the error it means. */
static enum err_code perform(const struct firestore *fs, enum firestore_call call, struct http_request *req,
                             const char *document, const struct retry_policy *policy, const struct budget *budget,
                             struct arena *a, struct http_reply *reply, struct err *err)
{
    struct api_call api = { .http = fs->http,
                            .gauth = fs->gauth,
                            .service = GAUTH_FIRESTORE,
                            .policy = policy,
                            .budget = budget,
                            .judge = judge,
                            .ctx = &call };
    struct err why = { 0 };
    enum err_code rc;

    req->max_reply_bytes = FIRESTORE_REPLY_MAX;
    req->allow_plain = fs->emulator;
    rc = api_send(&api, req, a, reply, &why);
    if (rc == ERR_TOO_LARGE && reply->status && reply->status != 200)
        return refusal(call, reply, document, err);
    if (rc == ERR_TOO_LARGE) /* never to be mistaken for an input that is too large */
        rc = call == FIRESTORE_READ ? ERR_PROTOCOL : ERR_UNKNOWN_OUTCOME;
    if (rc == ERR_UNKNOWN_OUTCOME && call == FIRESTORE_READ)
        rc = ERR_UNAVAILABLE;
    if (rc)
        return err_set(err, rc, "firestore: '%.80s': %s", document, why.msg);
    return reply->status == 200 ? ERR_OK : refusal(call, reply, document, err);
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

/* One segment at *at, copied to out; *at moves behind it. Returns its length, 0 when it is malformed. */
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
    enum err_code rc = arena_printf(a, ret, err, "%s/%s", fs->base, fs->documents);

    for (const char *at = document; !rc && *at;) {
        size_t n = strcspn(at, "/");
        char *segment;

        rc = http_encode(a, (struct span){ at, n }, &segment, err);
        if (!rc)
            rc = arena_printf(a, ret, err, "%s/%s", *ret, segment);
        at += n + (at[n] == '/');
    }
    return rc;
}

static enum err_code get_url(const struct firestore *fs, const char *document, const char *const *mask, int n_mask,
                             struct arena *a, char **ret, struct err *err)
{
    enum err_code rc = document_url(fs, document, a, ret, err);

    for (int i = 0; !rc && i < n_mask; i++) {
        char *path;

        rc = http_encode(a, span_of(mask[i]), &path, err);
        if (!rc)
            rc = arena_printf(a, ret, err, "%s%cmask.fieldPaths=%s", *ret, i ? '&' : '?', path);
    }
    return rc;
}

/* 200 alone proves nothing: a name that is read as another path answers {} (PROTOCOL.md 4.1). */
static enum err_code read_document(const struct firestore *fs, const char *document, struct span body, struct arena *a,
                                   struct firestore_document *ret, struct err *err)
{
    const struct json *root, *fields;
    const char *name, *update_time;
    struct err why = { 0 };
    char *want;

    if (arena_printf(a, &want, err, "%s/%s", fs->documents, document))
        return ERR_NOMEM;
    if (json_parse(a, body, FIRESTORE_DEPTH_MAX, &root, &why))
        return err_set(err, why.code == ERR_NOMEM ? ERR_NOMEM : ERR_PROTOCOL, "firestore: get '%.80s': %s", document,
                       why.msg);
    name = json_string(json_get(root, "name"));
    update_time = json_string(json_get(root, "updateTime"));
    fields = json_get(root, "fields");
    if (!name || strcmp(name, want) != 0)
        return err_set(err, ERR_PROTOCOL, "firestore: get '%.80s' answers with %s", document,
                       name ? "another document" : "no document");
    if (!update_time || !*update_time || strlen(update_time) >= FIRESTORE_TIME_SIZE)
        return err_set(err, ERR_PROTOCOL, "firestore: get '%.80s' answers without updateTime", document);
    if (fields && json_type(fields) != JSON_T_OBJECT)
        return err_set(err, ERR_PROTOCOL, "firestore: get '%.80s': fields are no object", document);
    *ret = (struct firestore_document){ update_time, fields };
    return ERR_OK;
}

enum err_code firestore_get(const struct firestore *fs, const char *document, const char *const *mask, int n_mask,
                            const struct retry_policy *policy, const struct budget *budget, struct arena *a,
                            struct firestore_document *ret, struct err *err)
{
    struct http_request req = { .method = "GET" };
    struct http_reply reply;
    char *url;
    enum err_code rc = get_url(fs, document, mask, n_mask, a, &url, err);

    req.url = url;
    if (!rc)
        rc = perform(fs, FIRESTORE_READ, &req, document, policy, budget, a, &reply, err);
    if (!rc)
        rc = read_document(fs, document, reply.body, a, ret, err);
    return rc;
}

const struct json *firestore_member(const struct json *map_value, const char *name)
{
    return json_get(json_get(json_get(map_value, "mapValue"), "fields"), name);
}

const struct json *firestore_field(const struct firestore_document *d, const char *path)
{
    const struct json *value;
    struct path p;

    if (parse_path(path, &p, NULL))
        return NULL;
    value = json_get(d->fields, p.segments[0]);
    for (int i = 1; i < p.n; i++)
        value = firestore_member(value, p.segments[i]);
    return value;
}

bool firestore_is_null(const struct json *value)
{
    return json_type(json_get(value, "nullValue")) == JSON_T_NULL;
}

const char *firestore_string(const struct json *value)
{
    return json_string(json_get(value, "stringValue"));
}

bool firestore_integer(const struct json *value, int64_t *ret)
{
    const struct json *number = json_get(value, "integerValue");
    const char *digits = json_string(number);

    if (digits)
        return json_int64(span_of(digits), ret);
    return json_integer(number, ret) || json_integer(json_get(value, "doubleValue"), ret);
}

bool firestore_timestamp(const struct json *value, int64_t *ret_us)
{
    const char *text = json_string(json_get(value, "timestampValue"));

    return text && rfc3339_parse(span_of(text), ret_us);
}

bool firestore_is_map(const struct json *value)
{
    return json_type(json_get(value, "mapValue")) == JSON_T_OBJECT;
}

int firestore_array_count(const struct json *value)
{
    const struct json *array = json_get(value, "arrayValue");

    return json_type(array) == JSON_T_OBJECT ? json_count(json_get(array, "values")) : -1;
}

const struct json *firestore_array_at(const struct json *value, int i)
{
    return json_at(json_get(json_get(value, "arrayValue"), "values"), i);
}

/* ---- writing ---- */

/* The fields of a patch as the tree of maps that their paths make. */
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
    enum err_code rc = parse_path(field->name, &p, err);

    for (int i = 0; !rc && i < p.n; i++) {
        rc = find_or_add(node, p.segments[i], a, &node, &added, err);
        if (!rc && node->leaf)
            break;
    }
    if (rc)
        return rc;
    if (!added || node->leaf)
        return err_set(err, ERR_INVALID, "firestore: '%.80s' overlaps with another path of the patch", field->name);
    node->leaf = &field->value;
    return ERR_OK;
}

static enum err_code write_members(struct json *to, const struct firestore_value *v, struct err *err);

static enum err_code write_array(struct json *to, const struct firestore_value *v, struct err *err)
{
    struct json *values = json_add_array(json_add_object(to, "arrayValue"), "values");
    enum err_code rc = ERR_OK;

    for (int i = 0; !rc && i < v->n; i++) {
        if (v->values[i].type == FIRESTORE_ARRAY)
            return err_set(err, ERR_INVALID, "firestore: an array directly in an array");
        rc = write_members(json_add_object(values, NULL), &v->values[i], err);
    }
    return rc;
}

static enum err_code write_map(struct json *to, const struct firestore_value *v, struct err *err)
{
    struct json *fields = json_add_object(json_add_object(to, "mapValue"), "fields");
    enum err_code rc = ERR_OK;

    for (int i = 0; !rc && i < v->n; i++)
        rc = write_members(json_add_object(fields, v->fields[i].name), &v->fields[i].value, err);
    return rc;
}

static void write_double(struct json *to, double d)
{
    if (isfinite(d))
        json_add_number(to, "doubleValue", d);
    else
        json_add_string(to, "doubleValue", isnan(d) ? "NaN" : d > 0 ? "Infinity" : "-Infinity");
}

/* The one member of a value: {"stringValue":"x"}. */
static enum err_code write_members(struct json *to, const struct firestore_value *v, struct err *err)
{
    char text[32];

    switch (v->type) {
    case FIRESTORE_NULL:
        json_add_null(to, "nullValue");
        return ERR_OK;
    case FIRESTORE_STRING:
        json_add_string(to, "stringValue", v->string);
        return ERR_OK;
    case FIRESTORE_INTEGER: /* as text: a JSON number loses digits on the way */
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
        return err_set(err, ERR_INVALID, "firestore: a value of type %d inside another", (int)v->type);
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

/* A path in the mask with nothing in the body is deleted, so what is deleted is left out here. */
static enum err_code write_tree(struct json *fields, const struct node *parent, struct err *err)
{
    enum err_code rc = ERR_OK;

    for (const struct node *node = parent->child; !rc && node; node = node->next) {
        struct json *value;

        if (!has_values(node))
            continue;
        value = json_add_object(fields, node->name);
        rc = node->leaf ? write_members(value, node->leaf, err)
                        : write_tree(json_add_object(json_add_object(value, "mapValue"), "fields"), node, err);
    }
    return rc;
}

struct patch {
    const struct firestore_field *fields;
    int n_fields;
    enum firestore_precondition precondition;
    const char *update_time;
};

static enum err_code write_commit(const struct firestore *fs, const char *document, const struct patch *patch,
                                  struct arena *a, char **ret, struct err *err)
{
    struct json *root = json_new_object(a), *write, *update, *mask, *condition;
    struct node tree = { .name = "" };
    char *name;
    enum err_code rc = arena_printf(a, &name, err, "%s/%s", fs->documents, document);

    for (int i = 0; !rc && i < patch->n_fields; i++)
        rc = add_field(&tree, &patch->fields[i], a, err);
    if (rc)
        return rc;
    write = json_add_object(json_add_array(root, "writes"), NULL);
    update = json_add_object(write, "update");
    json_add_string(update, "name", name);
    rc = write_tree(json_add_object(update, "fields"), &tree, err);
    mask = json_add_array(json_add_object(write, "updateMask"), "fieldPaths");
    for (int i = 0; i < patch->n_fields; i++)
        json_add_string(mask, NULL, patch->fields[i].name);
    condition = json_add_object(write, "currentDocument");
    if (patch->precondition == FIRESTORE_UNCHANGED_SINCE)
        json_add_string(condition, "updateTime", patch->update_time);
    else
        json_add_bool(condition, "exists", patch->precondition == FIRESTORE_MUST_EXIST);
    return rc ? rc : json_print(a, root, ret, err);
}

/* The write has landed. An answer that cannot be read leaves us without the next precondition: re-read. */
static enum err_code read_commit(const char *document, struct span body, struct arena *a,
                                 char ret_update_time[FIRESTORE_TIME_SIZE], struct err *err)
{
    const struct json *root = NULL, *result;
    const char *update_time;

    if (json_parse(a, body, FIRESTORE_DEPTH_MAX, &root, NULL))
        root = NULL;
    result = json_at(json_get(root, "writeResults"), 0);
    update_time = json_string(json_get(result, "updateTime"));
    if (!update_time || !*update_time || strlen(update_time) >= FIRESTORE_TIME_SIZE)
        return err_set(err, ERR_UNKNOWN_OUTCOME, "firestore: commit '%.80s' answers without updateTime", document);
    if (ret_update_time)
        (void)snprintf(ret_update_time, FIRESTORE_TIME_SIZE, "%s", update_time);
    return ERR_OK;
}

enum err_code firestore_patch(const struct firestore *fs, const char *document, const struct firestore_field *fields,
                              int n_fields, enum firestore_precondition precondition, const char *update_time,
                              const struct retry_policy *policy, const struct budget *budget, struct arena *a,
                              char ret_update_time[FIRESTORE_TIME_SIZE], struct err *err)
{
    struct patch patch = { fields, n_fields, precondition, update_time };
    struct http_request req = { .method = "POST" };
    struct http_reply reply;
    char *url, *body;
    enum err_code rc;

    if (n_fields < 1 || (precondition == FIRESTORE_UNCHANGED_SINCE && !is_set(update_time)))
        return err_set(err, ERR_INVALID, "firestore: a patch without fields or without its updateTime");
    rc = arena_printf(a, &url, err, "%s/%s:commit", fs->base, fs->documents);
    if (!rc)
        rc = write_commit(fs, document, &patch, a, &body, err);
    if (rc)
        return rc;
    req.url = url;
    req.body = span_of(body);
    http_request_header(&req, "Content-Type", "application/json");
    rc = perform(fs, FIRESTORE_CONDITIONAL_WRITE, &req, document, policy, budget, a, &reply, err);
    if (!rc)
        rc = read_commit(document, reply.body, a, ret_update_time, err);
    return rc;
}
