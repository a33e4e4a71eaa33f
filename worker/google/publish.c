#include "worker/google/publish.h"

#include <string.h>

#include "kernels/base/base64.h"
#include "worker/base/json.h"
#include "worker/base/names.h"
#include "worker/google/api.h"

enum { REPLY_MAX = 64 << 10, REPLY_DEPTH_MAX = 8 };

/* PROTOCOL.md 7: base_ms, cap_ms, tries, call_timeout_ms. */
static const struct retry_policy policy = { 250, 4000, 4, 5000 };

/* ---- the address ---- */

enum err_code publisher_init(struct publisher *p, const struct publisher_options *o, struct arena *a, struct err *err)
{
    bool emulator = o->emulator_host && *o->emulator_host;
    const char *setting = o->setting && *o->setting ? o->setting : "POISON_TOPIC";
    char *topic, *path, *base;

    if (!o->topic || !topic_name_is_valid(o->topic))
        return err_set(err, ERR_INVALID, "%s: '%.100s' is not projects/PROJECT/topics/NAME", setting,
                       o->topic ? o->topic : "");
    if (emulator && !host_is_valid(o->emulator_host))
        return err_set(err, ERR_INVALID, "PUBSUB_EMULATOR_HOST: '%.100s' is not host:port", o->emulator_host);
    TRY(span_dup(a, span_of(o->topic), &topic, err));
    TRY(http_encode_path(a, topic, &path, err));
    if (emulator)
        TRY(arena_printf(a, &base, err, "http://%s/v1%s", o->emulator_host, path));
    else
        TRY(arena_printf(a, &base, err, "https://pubsub.googleapis.com/v1%s", path));
    *p = (struct publisher){ o->http, o->gauth, topic, base, setting, emulator };
    return ERR_OK;
}

/* ---- one message ---- */

static enum err_code print_request(const struct publish_message *m, struct arena *a, char **ret, struct err *err)
{
    struct json *root = json_new_object(a), *message, *attributes;
    size_t size = BASE64_ENCODED_SIZE(m->data.len);
    char *data;

    TRY(arena_alloc(a, size, 1, &data, err));
    TRY(base64_encode(m->data, BASE64_STANDARD, data, size, NULL, err));
    message = json_add_object(json_add_array(root, "messages"), NULL);
    json_add_string(message, "data", data);
    attributes = json_add_object(message, "attributes");
    for (int i = 0; i < m->n_attributes; i++)
        json_add_string(attributes, m->attributes[i].key, m->attributes[i].value);
    return json_print(a, root, ret, err);
}

/* What an operator can do about it. */
static const char *remedy(int status)
{
    if (status == 401)
        return ": a fresh token is refused, too: has the key been deleted?";
    if (status == 403)
        return ": give the service account the role roles/pubsub.publisher on the topic";
    return status == 404 ? ": there is no such topic: create it, or change " : "";
}

static enum err_code refusal(const struct publisher *p, const struct http_reply *reply, struct err *err)
{
    char said[1024];
    bool speaks = api_error_text(reply->body, "message", said, sizeof said) && *said;

    return err_set(err, api_code_of(reply->status), "publish: '%.80s': HTTP %d%s%.60s%s%s%s", p->topic, reply->status,
                   speaks ? " (" : "", said, speaks ? ")" : "", remedy(reply->status),
                   reply->status == 404 ? p->setting : "");
}

enum err_code publisher_send(const struct publisher *p, const struct publish_message *message,
                             const struct budget *budget, struct arena *a, const char **ret_id, struct err *err)
{
    const struct api_call call = { .http = p->http,
                                   .gauth = p->gauth,
                                   .service = GAUTH_PUBSUB,
                                   .policy = &policy,
                                   .budget = budget,
                                   .judge = api_judge };
    struct http_request req = { .method = "POST", .max_reply_bytes = REPLY_MAX, .allow_plain = p->emulator };
    struct http_reply reply;
    const struct json *root;
    struct err why = { 0 };
    enum err_code rc;
    const char *id;
    char *body, *url;

    TRY(arena_printf(a, &url, err, "%s:publish", p->base));
    TRY(print_request(message, a, &body, err));
    req.url = url;
    req.body = span_of(body);
    http_request_header(&req, "Content-Type", "application/json");
    rc = api_send(&call, &req, a, &reply, &why);
    if (rc)
        return err_set(err, rc, "publish: '%.100s': %s", p->topic, why.msg);
    if (reply.status != 200)
        return refusal(p, &reply, err);
    if (json_parse(a, reply.body, REPLY_DEPTH_MAX, &root, NULL) ||
        !(id = json_string(json_first(json_get(root, "messageIds")))))
        return err_set(err, ERR_PROTOCOL, "publish: '%.100s': the answer names no message", p->topic);
    return ret_id ? span_dup(a, span_of(id), (char **)ret_id, err) : ERR_OK;
}
