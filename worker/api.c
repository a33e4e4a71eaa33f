#include "worker/api.h"

/* Puts the token, if there is one, into its slot of the request. */
static enum err_code authorize(const struct api_call *call, struct http_request *req, int slot, struct arena *a,
                               const char **ret_value, struct err *err)
{
    enum err_code rc = gauth_header(call->gauth, call->service, call->budget, a, ret_value, err);

    if (rc)
        return rc;
    req->n_headers = slot;
    if (*ret_value)
        http_request_header(req, "Authorization", *ret_value);
    return ERR_OK;
}

enum err_code api_send(const struct api_call *call, struct http_request *req, struct arena *a, struct http_reply *ret,
                       struct err *err)
{
    const struct arena_mark start = arena_mark(a);
    const int slot = req->n_headers;
    const char *token;
    bool token_renewed = false;
    struct err why = { 0 };
    enum err_code rc = authorize(call, req, slot, a, &token, err);
    struct arena_mark mark = arena_mark(a);

    if (rc)
        return rc;
    req->timeout_ms = call->policy->call_timeout_ms;
    req->budget = call->budget;
    for (int n = 1;;) {
        enum api_next next;

        why = (struct err){ 0 };
        *ret = (struct http_reply){ 0 };
        rc = http_send(call->http, req, a, ret, &why);
        next = call->judge(call->ctx, rc, ret);
        if (next == API_NEW_TOKEN && !token_renewed) {
            token_renewed = true;
            gauth_drop(call->gauth, token);
            arena_rewind(a, start);
            rc = authorize(call, req, slot, a, &token, err);
            if (rc)
                return rc;
            mark = arena_mark(a);
            continue;
        }
        if (next != API_RETRY || n >= call->policy->tries)
            break;
        if (retry_wait(call->budget, call->policy, n, http_reply_header(ret, "retry-after"), NULL)) {
            if (budget_cancelled(call->budget))
                return err_set(err, ERR_CANCELLED, "cancelled between two tries");
            break; /* no time for another: the last answer stands */
        }
        arena_rewind(a, mark);
        n++;
    }
    return rc ? err_set(err, rc, "%s", why.msg) : ERR_OK;
}
