#include "worker/google/firestore.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/json_scan.h"
#include "worker/base/members.h"
#include "worker/base/names.h"
#include "worker/base/rfc3339.h"
#include "worker/google/api.h"

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
    char *base, *documents;

    if (emulator && !host_is_valid(o->emulator_host))
        return err_set(err, ERR_INVALID, "FIRESTORE_EMULATOR_HOST: '%.100s' is not host:port", o->emulator_host);
    if (emulator)
        TRY(arena_printf(a, &base, err, "http://%s/v1", o->emulator_host));
    else
        TRY(arena_printf(a, &base, err, "https://firestore.googleapis.com/v1"));
    TRY(arena_printf(a, &documents, err, "projects/%s/databases/(default)/documents", o->project));
    *fs = (struct firestore){ o->http, o->gauth, base, documents, emulator };
    return ERR_OK;
}

/* ---- what an answer means ---- */

/* Two shapes: {"error":{...}}, and [{"error":{...}}] from methods that stream. */
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
    return FIRESTORE_FINAL; /* a bare 404, too: it does not say that the document is missing */
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
    if (error_field(body, "status", status, sizeof status))
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

/* What an operator can do about it. */
static const char *remedy(enum firestore_outcome outcome)
{
    if (outcome == FIRESTORE_REFUSED)
        return " (does the service account have the role roles/datastore.user?)";
    if (outcome == FIRESTORE_NEW_TOKEN)
        return " (a fresh token is refused, too: has the key been deleted?)";
    return "";
}

/* One call about one document. */
struct operation {
    enum firestore_call call;
    const char *document;
    const struct retry_policy *policy;
    const struct budget *budget;
};

static enum err_code refusal(const struct operation *op, const struct http_reply *reply, struct err *err)
{
    static const enum err_code codes[] = {
        [FIRESTORE_RETRY] = ERR_UNAVAILABLE, [FIRESTORE_NEW_TOKEN] = ERR_DENIED,
        [FIRESTORE_REREAD] = ERR_CONFLICT,   [FIRESTORE_UNKNOWN] = ERR_UNKNOWN_OUTCOME,
        [FIRESTORE_ABSENT] = ERR_NOT_FOUND,  [FIRESTORE_REFUSED] = ERR_DENIED,
        [FIRESTORE_FINAL] = ERR_INVALID,
    };
    enum firestore_outcome outcome = firestore_classify(op->call, reply->status, reply->body);
    char status[32], message[1024];

    (void)error_field(reply->body, "status", status, sizeof status);
    (void)error_field(reply->body, "message", message, sizeof message);
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

    req->max_reply_bytes = FIRESTORE_REPLY_MAX;
    req->allow_plain = fs->emulator;
    rc = api_send(&api, req, a, reply, &why);
    if (rc == ERR_TOO_LARGE && reply->status && reply->status != 200)
        return refusal(op, reply, err);
    if (rc == ERR_TOO_LARGE) /* callers take this code to mean that an input is too large */
        rc = call == FIRESTORE_READ ? ERR_PROTOCOL : ERR_UNKNOWN_OUTCOME;
    if (rc == ERR_UNKNOWN_OUTCOME && call == FIRESTORE_READ)
        rc = ERR_UNAVAILABLE;
    if (rc)
        return err_set(err, rc, "firestore: '%.80s': %s", op->document, why.msg);
    return reply->status == 200 ? ERR_OK : refusal(op, reply, err);
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
    TRY(arena_printf(a, ret, err, "%s/%s", fs->base, fs->documents));
    for (const char *at = document; *at;) {
        size_t n = strcspn(at, "/");
        char *segment;

        TRY(http_encode(a, (struct span){ at, n }, &segment, err));
        TRY(arena_printf(a, ret, err, "%s/%s", *ret, segment));
        at += n + (at[n] == '/');
    }
    return ERR_OK;
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
    return ERR_OK;
}

/* A 200 proves nothing yet: where a server reads the name as another path, it answers {} (PROTOCOL.md 4.1). */
static enum err_code read_document(const struct firestore *fs, const char *document, struct span body, struct arena *a,
                                   struct firestore_document *ret, struct err *err)
{
    const struct json *root, *fields;
    const char *name, *update_time;
    struct err why = { 0 };
    char *want;

    TRY(arena_printf(a, &want, err, "%s/%s", fs->documents, document));
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
        return err_set(err, ERR_PROTOCOL, "firestore: get '%.80s' answers with fields that are not an object",
                       document);
    *ret = (struct firestore_document){ update_time, fields };
    return ERR_OK;
}

enum err_code firestore_get(const struct firestore *fs, const char *document, struct firestore_mask mask,
                            const struct budget *budget, struct arena *a, struct firestore_document *ret,
                            struct err *err)
{
    const struct operation op = { FIRESTORE_READ, document, &read_policy, budget };
    struct http_request req = { .method = "GET" };
    struct http_reply reply = { 0 };
    char *url;

    TRY(get_url(fs, document, mask, a, &url, err));
    req.url = url;
    TRY(perform(fs, &op, &req, a, &reply, err));
    return read_document(fs, document, reply.body, a, ret, err);
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
