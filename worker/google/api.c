#include "worker/google/api.h"

#include "kernels/base/json_scan.h"
#include "worker/base/json.h"
#include "worker/base/members.h"

bool api_may_pass(enum err_code rc, const struct http_reply *reply)
{
    return rc ? rc == ERR_UNAVAILABLE || rc == ERR_UNKNOWN_OUTCOME : http_status_is_transient(reply->status);
}

enum api_next api_judge(void *ctx, enum err_code rc, const struct http_reply *reply)
{
    (void)ctx;
    if (!rc && reply->status == 401)
        return API_NEW_TOKEN;
    return api_may_pass(rc, reply) ? API_RETRY : API_TAKE;
}

enum err_code api_code_of(int http_status)
{
    if (http_status == 404)
        return ERR_NOT_FOUND;
    if (http_status == 401 || http_status == 403)
        return ERR_DENIED;
    return http_status_is_transient(http_status) ? ERR_UNAVAILABLE : ERR_INVALID;
}

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

bool api_error_text(struct span body, const char *name, char *buf, size_t size)
{
    struct member field = { .name = name };
    struct span error;

    *buf = 0;
    return find_error(body, &error) && !members_read(error, &field, 1, NULL) && member_text(&field, buf, size);
}

static enum err_code send_once(const struct api_call *call, struct http_request *req, int n_headers, const char *token,
                               struct arena *a, struct http_reply *ret, struct err *err)
{
    bool with_token = true;

    req->n_headers = n_headers;
    if (call->prepare)
        with_token = call->prepare(call->ctx, req);
    if (with_token && token)
        http_request_header(req, "Authorization", token);
    *ret = (struct http_reply){ 0 };
    return http_send(call->http, req, a, ret, err);
}

enum err_code api_send(const struct api_call *call, struct http_request *req, struct arena *a, struct http_reply *ret,
                       struct err *err)
{
    const struct arena_mark start = arena_mark(a);
    const int n_headers = req->n_headers;
    bool token_renewed = false;
    struct arena_mark mark;
    const char *token;
    enum err_code rc;
    struct err why;
    int tries = 1;

    TRY(gauth_header(call->gauth, call->service, call->budget, a, &token, err));
    mark = arena_mark(a);
    req->timeout_ms = call->policy->call_timeout_ms;
    req->budget = call->budget;
    for (;;) {
        enum api_next next;

        why = (struct err){ 0 };
        rc = send_once(call, req, n_headers, token, a, ret, &why);
        next = call->judge(call->ctx, rc, ret);
        if (next == API_NEW_TOKEN && !token_renewed) {
            token_renewed = true;
            gauth_drop(call->gauth, token);
            arena_rewind(a, start);
            TRY(gauth_header(call->gauth, call->service, call->budget, a, &token, err));
            mark = arena_mark(a);
            continue;
        }
        if (next == API_TAKE || next == API_NEW_TOKEN)
            break;
        if (next == API_RETRY) {
            if (tries == call->policy->tries)
                break;
            if (retry_wait(call->budget, call->policy, tries++, http_retry_after_ms(ret, call->budget->sys), NULL)) {
                if (budget_cancelled(call->budget))
                    return err_set(err, ERR_CANCELLED, "cancelled between two tries");
                break; /* no time for another try: the last answer is the result */
            }
        }
        arena_rewind(a, mark);
    }
    return rc ? err_set(err, rc, "%s", why.msg) : ERR_OK;
}
