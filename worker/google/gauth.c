#include "worker/google/gauth.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/base/crypto.h"
#include "worker/base/members.h"
#include "worker/base/names.h"
#include "worker/base/wait.h"

enum {
    RENEW_BELOW_MS = 225 * 1000, /* as in Google's libraries: earlier, the metadata server returns the old token */
    USABLE_ABOVE_MS = 10 * 1000, /* the call itself takes time too */
    PAUSE_AFTER_FAILURE_MS = 15 * 1000,
    WAIT_SLICE_MS = 100, /* how late a thread that waits for another notices that it must stop */
    LIFETIME_MAX_S = 3600,
    LIFETIME_UNKNOWN_S = 300,
    REPLY_MAX = 64 << 10,
    REPLY_DEPTH_MAX = 8,
    IDENTITY_AUDIENCE_MAX = 300, /* bytes, percent-encoded */
    METADATA_URL_SIZE = 1024
};

#define SCOPES_OF_SESSIONS \
    "https://www.googleapis.com/auth/datastore https://www.googleapis.com/auth/devstorage.read_write"
#define SCOPE_OF_PUBSUB "https://www.googleapis.com/auth/pubsub"

static const char emulator_header[] = "Bearer owner";
static const char bearer[] = "Bearer ";
static const char metadata_host[] = "metadata.google.internal";

/* base_ms, cap_ms, tries, call_timeout_ms */
static const struct retry_policy metadata_policy = { 200, 2000, 5, 3000 };
static const struct retry_policy endpoint_policy = { 1000, 8000, 3, 10000 };

struct token {
    char header[GAUTH_TOKEN_MAX + sizeof bearer]; /* empty: there is no token */
    int64_t expires_mono_ms;
};

struct gauth {
    struct http *http;
    const struct sys *sys;
    bool emulator[GAUTH_SERVICES];
    bool has_account, jwt_bearer_grant, plain_token_uri;
    const char *scopes; /* of a token that is signed here */
    struct service_account account;
    const char *source;
    char metadata_base[300]; /* "http://host/computeMetadata/v1" */

    pthread_mutex_t lock;
    pthread_cond_t attempt_ended; /* successfully or not */
    struct token token;
    int64_t no_renewal_before_ms;
    int64_t signed_at_s; /* the second of the last token that was signed here */
    int n_signed;        /* in that second */
    bool renewing;
    char project[PROJECT_ID_MAX + 1];
};

/* ---- one attempt to get a token ---- */

/* What may follow a failed attempt. */
enum next { GIVE_UP, TRY_AGAIN, TRY_NEW_ASSERTION };

/* expires_in is a number, or a string with one. Without it, a short lifetime is assumed. */
static int64_t lifetime_s(const struct member *m)
{
    struct span digits = m->raw;
    double seconds;

    if ((m->type != JSON_NUMBER && m->type != JSON_STRING) || !json_double(digits, &seconds))
        return LIFETIME_UNKNOWN_S;
    if (!(seconds > 0))
        return 0;
    return seconds < LIFETIME_MAX_S ? (int64_t)seconds : LIFETIME_MAX_S;
}

static bool is_header_safe(const char *token)
{
    for (const char *p = token; *p; p++)
        if (*p <= ' ' || *p > '~')
            return false;
    return *token;
}

static enum err_code read_token(const struct gauth *g, struct span body, struct token *ret, struct err *err)
{
    enum { ACCESS_TOKEN, EXPIRES_IN, TOKEN_TYPE, N };
    struct member m[N] = { { .name = "access_token" }, { .name = "expires_in" }, { .name = "token_type" } };
    char type[16] = "Bearer";

    if (members_parse(body, REPLY_DEPTH_MAX, "token", m, N, NULL)) /* without the reason, which might quote a secret */
        return err_set(err, ERR_PROTOCOL, "token: the answer is not a JSON object");
    memcpy(ret->header, bearer, sizeof bearer);
    if (!member_text(&m[ACCESS_TOKEN], ret->header + sizeof bearer - 1, GAUTH_TOKEN_MAX + 1) ||
        !is_header_safe(ret->header + sizeof bearer - 1))
        return err_set(err, ERR_PROTOCOL, "token: the answer has no access_token of 1 to %d printable characters",
                       GAUTH_TOKEN_MAX);
    if (m[TOKEN_TYPE].type && (!member_text(&m[TOKEN_TYPE], type, sizeof type) || strcasecmp(type, "Bearer") != 0))
        return err_set(err, ERR_PROTOCOL, "token: the answer's token_type is not Bearer");
    ret->expires_mono_ms = sys_mono_ms(g->sys) + lifetime_s(&m[EXPIRES_IN]) * 1000;
    return ERR_OK;
}

/* Nothing could be sent. A machine outside Google Cloud has no such server: it wants a key. */
static enum err_code unreachable(const struct gauth *g, const struct err *why, struct err *err)
{
    const char *host = g->metadata_base + sizeof "http://" - 1;
    struct span name = { host, strcspn(host, "/") };

    if (!span_is(name, metadata_host))
        return err_set(err, ERR_UNAVAILABLE, "metadata server: %.150s; is GCE_METADATA_HOST right?", why->msg);
    return err_set(err, ERR_UNAVAILABLE,
                   "metadata server: %s %s set FIREBASE_CREDENTIALS to the JSON key of a service account, or "
                   "GOOGLE_APPLICATION_CREDENTIALS to its path",
                   metadata_host,
                   strstr(why->msg, "resolve") ? "does not resolve: this is not Cloud Run;"
                                               : "cannot be reached: is this Cloud Run? If not,");
}

static enum err_code metadata_get(const struct gauth *g, const char *path, const struct budget *b, struct arena *a,
                                  struct http_reply *reply, enum next *ret_next, struct err *err)
{
    char url[METADATA_URL_SIZE];
    struct http_request req = { .method = "GET",
                                .url = url,
                                .timeout_ms = metadata_policy.call_timeout_ms,
                                .max_reply_bytes = REPLY_MAX,
                                .allow_plain = true,
                                .budget = b };
    struct err why = { 0 };
    const char *flavor;
    enum err_code rc;

    (void)snprintf(url, sizeof url, "%s%s", g->metadata_base, path);
    http_request_header(&req, "Metadata-Flavor", "Google");
    rc = http_send(g->http, &req, a, reply, &why);
    *ret_next = rc == ERR_UNAVAILABLE || rc == ERR_UNKNOWN_OUTCOME ? TRY_AGAIN : GIVE_UP;
    if (rc == ERR_UNAVAILABLE)
        return unreachable(g, &why, err);
    if (rc)
        return err_set(err, rc, "metadata server: %s", why.msg);
    flavor = http_reply_header(reply, "metadata-flavor");
    if (reply->status != 200) {
        *ret_next = http_status_is_transient(reply->status) ? TRY_AGAIN : GIVE_UP;
        return err_set(err, *ret_next == TRY_AGAIN ? ERR_UNAVAILABLE : ERR_DENIED, "metadata server: HTTP %d%s",
                       reply->status, reply->status == 404 ? ": is a service account attached to this machine?" : "");
    }
    if (!flavor || strcmp(flavor, "Google") != 0)
        return err_set(err, ERR_PROTOCOL,
                       "metadata server: the answer lacks the header Metadata-Flavor, so another server sent it");
    return ERR_OK;
}

/* Knows the error codes of RFC 6749 5.2, and those that Google adds. */
static enum next judge_refusal(int status, struct span body, char ret_error[64])
{
    static const char *const transient[] = { "internal_failure", "server_error", "temporarily_unavailable" };
    struct member error = { .name = "error" };

    *ret_error = 0;
    if (!members_parse(body, REPLY_DEPTH_MAX, "token", &error, 1, NULL) && !member_text(&error, ret_error, 64))
        *ret_error = 0;
    for (size_t i = 0; i < sizeof transient / sizeof *transient; i++)
        if (strcmp(ret_error, transient[i]) == 0)
            return TRY_AGAIN;
    if (strcmp(ret_error, "invalid_grant") == 0)
        return TRY_NEW_ASSERTION;
    return http_status_is_transient(status) ? TRY_AGAIN : GIVE_UP;
}

static enum err_code exchange(const struct gauth *g, const char *assertion, const struct budget *b, struct arena *a,
                              struct http_reply *reply, enum next *ret_next, struct err *err)
{
    struct http_request req = { .method = "POST",
                                .url = g->account.token_uri,
                                .max_reply_bytes = REPLY_MAX,
                                .timeout_ms = endpoint_policy.call_timeout_ms,
                                .allow_plain = g->plain_token_uri,
                                .budget = b };
    char error[64], *form;
    enum err_code rc;

    *ret_next = GIVE_UP;
    TRY(arena_printf(a, &form, err,
                     "grant_type=urn%%3Aietf%%3Aparams%%3Aoauth%%3Agrant-type%%3Ajwt-bearer&assertion=%s", assertion));
    req.body = span_of(form);
    http_request_header(&req, "Content-Type", "application/x-www-form-urlencoded");
    rc = http_send(g->http, &req, a, reply, err);
    if (rc == ERR_UNAVAILABLE || rc == ERR_UNKNOWN_OUTCOME)
        *ret_next = TRY_AGAIN;
    if (rc || reply->status == 200)
        return rc;
    *ret_next = judge_refusal(reply->status, reply->body, error);
    return err_set(err, *ret_next == TRY_AGAIN ? ERR_UNAVAILABLE : ERR_DENIED, "%s: token endpoint: HTTP %d %s%s",
                   g->source, reply->status, is_header_safe(error) ? error : "",
                   strcmp(error, "invalid_grant") == 0 ? ": has the key been deleted, or is this machine's clock wrong?"
                                                       : "");
}

static int64_t wall_s(const struct gauth *g)
{
    return sys_wall_us(g->sys) / 1000000;
}

/* When the next token is issued. A token that was refused must not come again with the same bytes, so each one that is
 * signed within a second is issued a second before the one before it. */
static int64_t issue_s(struct gauth *g)
{
    int64_t now_s = wall_s(g);

    g->n_signed = now_s == g->signed_at_s ? g->n_signed + 1 : 0;
    g->signed_at_s = now_s;
    return now_s - g->n_signed;
}

static enum err_code sign_into(struct gauth *g, char jwt[SERVICE_ACCOUNT_JWT_SIZE], struct token *ret, struct err *err)
{
    TRY(service_account_sign(&g->account, g->scopes, NULL, issue_s(g), jwt, err));
    if ((size_t)snprintf(ret->header, sizeof ret->header, "%s%s", bearer, jwt) >= sizeof ret->header)
        return err_set(err, ERR_INTERNAL, "token: the signed JWT is too long");
    ret->expires_mono_ms = sys_mono_ms(g->sys) + LIFETIME_MAX_S * 1000;
    return ERR_OK;
}

/* Makes a token from the key alone; sends nothing. Called by the one thread that renews. */
static enum err_code sign_token(struct gauth *g, struct token *ret, struct err *err)
{
    char jwt[SERVICE_ACCOUNT_JWT_SIZE];
    enum err_code rc = sign_into(g, jwt, ret, err);

    crypto_clear(jwt, sizeof jwt);
    return rc;
}

static enum err_code ask_endpoint(const struct gauth *g, const struct budget *b, struct arena *a,
                                  struct http_reply *reply, enum next *ret_next, struct err *err)
{
    char assertion[SERVICE_ACCOUNT_JWT_SIZE];
    enum err_code rc = service_account_sign(&g->account, g->scopes, g->account.token_uri, wall_s(g), assertion, err);

    *ret_next = GIVE_UP;
    if (rc == ERR_OK)
        rc = exchange(g, assertion, b, a, reply, ret_next, err);
    crypto_clear(assertion, sizeof assertion);
    return rc;
}

static enum err_code ask_token(const struct gauth *g, const struct budget *b, struct arena *a, struct token *ret,
                               struct http_reply *reply, enum next *ret_next, struct err *err)
{
    if (g->has_account)
        TRY(ask_endpoint(g, b, a, reply, ret_next, err));
    else
        TRY(metadata_get(g, "/instance/service-accounts/default/token", b, a, reply, ret_next, err));
    *ret_next = GIVE_UP;
    return read_token(g, reply->body, ret, err);
}

/* ---- attempts ---- */

static const struct retry_policy *policy_of(const struct gauth *g)
{
    return g->has_account ? &endpoint_policy : &metadata_policy;
}

static enum err_code ask_until(const struct gauth *g, const struct budget *b, int tries, struct arena *a,
                               struct token *ret, struct err *err)
{
    struct http_reply reply = { 0 };
    enum next next = TRY_AGAIN;
    struct err why = { 0 };
    bool new_assertion_tried = false;
    enum err_code rc = ERR_UNAVAILABLE;

    for (int n = 0; n < tries; n++) {
        if (n && next == TRY_AGAIN && retry_wait(b, policy_of(g), n, http_retry_after_ms(&reply, g->sys), NULL))
            break; /* no time for another try: the last failure is the result */
        why = (struct err){ 0 };
        reply = (struct http_reply){ 0 };
        rc = ask_token(g, b, a, ret, &reply, &next, &why);
        if (rc == ERR_OK || next == GIVE_UP || (next == TRY_NEW_ASSERTION && new_assertion_tried))
            break;
        new_assertion_tried |= next == TRY_NEW_ASSERTION;
    }
    if (rc == ERR_TOO_LARGE) /* callers take this code for one of their own answer */
        rc = ERR_PROTOCOL;
    return rc ? err_set(err, rc, "%s", why.msg) : ERR_OK;
}

static enum err_code get_token(struct gauth *g, const struct budget *b, int tries, struct token *ret, struct err *err)
{
    struct arena a = { 0 };
    enum err_code rc;

    if (g->has_account && !g->jwt_bearer_grant)
        return sign_token(g, ret, err);
    TRY(arena_init(&a, 1 << 20, err));
    rc = ask_until(g, b, tries, &a, ret, err);
    crypto_clear(a.base, a.used);
    arena_done(&a);
    return rc;
}

/* ---- the one token that all threads share ---- */

static int64_t left_ms(const struct gauth *g)
{
    return *g->token.header ? g->token.expires_mono_ms - sys_mono_ms(g->sys) : INT64_MIN;
}

/* The lock is held on entry and on return, and released while the request is on its way. Tries only once while the old
 * token is still usable, so that no caller waits for a token that can be fetched later. */
static enum err_code renew(struct gauth *g, const struct budget *b, struct err *err)
{
    struct token fresh = { .header = "" };
    int tries = left_ms(g) > USABLE_ABOVE_MS ? 1 : policy_of(g)->tries;
    enum err_code rc;

    g->renewing = true;
    (void)pthread_mutex_unlock(&g->lock);
    rc = get_token(g, b, tries, &fresh, err);
    (void)pthread_mutex_lock(&g->lock);
    if (rc == ERR_OK)
        g->token = fresh;
    g->no_renewal_before_ms = rc ? sys_mono_ms(g->sys) + PAUSE_AFTER_FAILURE_MS : INT64_MIN;
    g->renewing = false;
    (void)pthread_cond_broadcast(&g->attempt_ended);
    crypto_clear(&fresh, sizeof fresh);
    return rc;
}

/* Waits for the thread that renews, which may have a later deadline, no longer than this call's own budget allows. */
static enum err_code wait_for_other(struct gauth *g, const struct budget *b, struct err *err)
{
    while (g->renewing) {
        struct timespec until = wait_deadline(WAIT_SLICE_MS);

        if (budget_cancelled(b))
            return err_set(err, ERR_CANCELLED, "token: cancelled while another thread fetches it");
        if (budget_left_ms(b) == 0)
            return err_set(err, ERR_DEADLINE, "token: no time left, and another thread still fetches it");
        (void)wait_until(&g->attempt_ended, &g->lock, &until);
    }
    return ERR_OK;
}

/* Makes sure that there is a usable token. The lock is held. */
static enum err_code ensure(struct gauth *g, const struct budget *b, struct err *err)
{
    struct err why = { 0 };
    enum err_code rc;

    if (left_ms(g) >= RENEW_BELOW_MS)
        return ERR_OK;
    if (left_ms(g) > USABLE_ABOVE_MS && (g->renewing || sys_mono_ms(g->sys) < g->no_renewal_before_ms))
        return ERR_OK;
    if (g->renewing) {
        TRY(wait_for_other(g, b, err));
        if (left_ms(g) > 0)
            return ERR_OK;
    }
    rc = renew(g, b, &why); /* even a token without any lifetime serves the call that fetched it */
    if (rc == ERR_OK || left_ms(g) > USABLE_ABOVE_MS)
        return ERR_OK;
    return err_set(err, rc, "%s", why.msg);
}

/* The lock is held. */
static enum err_code copy_header(struct gauth *g, const struct budget *budget, struct arena *a, char **ret,
                                 struct err *err)
{
    TRY(ensure(g, budget, err));
    return span_dup(a, span_of(g->token.header), ret, err);
}

enum err_code gauth_header(struct gauth *g, enum gauth_service service, const struct budget *budget, struct arena *a,
                           const char **ret, struct err *err)
{
    char *copy;
    enum err_code rc;

    if (g->emulator[service]) {
        *ret = service == GAUTH_FIRESTORE ? emulator_header : NULL;
        return ERR_OK;
    }
    (void)pthread_mutex_lock(&g->lock);
    rc = copy_header(g, budget, a, &copy, err);
    (void)pthread_mutex_unlock(&g->lock);
    if (rc == ERR_OK)
        *ret = copy;
    return rc;
}

void gauth_drop(struct gauth *g, const char *header_value)
{
    if (!header_value)
        return;
    (void)pthread_mutex_lock(&g->lock);
    if (strcmp(g->token.header, header_value) == 0) {
        crypto_clear(&g->token, sizeof g->token);
        g->no_renewal_before_ms = INT64_MIN;
    }
    (void)pthread_mutex_unlock(&g->lock);
}

/* ---- project ---- */

/* Several tries; the body of the answer lives in `a`. */
static enum err_code metadata_ask(const struct gauth *g, const char *path, const struct budget *b, struct arena *a,
                                  struct span *ret_body, struct err *err)
{
    struct http_reply reply = { 0 };
    enum next next = TRY_AGAIN;
    struct err why = { 0 };
    enum err_code rc = ERR_UNAVAILABLE;

    for (int n = 0; n < metadata_policy.tries && next == TRY_AGAIN; n++) {
        if (n && retry_wait(b, &metadata_policy, n, http_retry_after_ms(&reply, g->sys), NULL))
            break;
        why = (struct err){ 0 };
        reply = (struct http_reply){ 0 };
        rc = metadata_get(g, path, b, a, &reply, &next, &why);
    }
    if (rc)
        return err_set(err, rc, "%s", why.msg);
    *ret_body = reply.body;
    return ERR_OK;
}

/* ret_id lives in `a`. */
static enum err_code ask_project_until(const struct gauth *g, const struct budget *b, struct arena *a,
                                       struct span *ret_id, struct err *err)
{
    struct err why = { 0 };
    struct span body;
    enum err_code rc = metadata_ask(g, "/project/project-id", b, a, &body, &why);

    if (rc)
        return err_set(err, rc, "%s (or set GOOGLE_CLOUD_PROJECT)", why.msg);
    if (!project_id_is_valid(body))
        return err_set(err, ERR_PROTOCOL, "metadata server: the answer is not a project id; set GOOGLE_CLOUD_PROJECT");
    *ret_id = body;
    return ERR_OK;
}

static enum err_code ask_project(const struct gauth *g, const struct budget *b, char ret[PROJECT_ID_MAX + 1],
                                 struct err *err)
{
    struct arena a = { 0 };
    struct span id = { 0 };
    enum err_code rc;

    TRY(arena_init(&a, 1 << 20, err));
    rc = ask_project_until(g, b, &a, &id, err);
    (void)snprintf(ret, PROJECT_ID_MAX + 1, "%.*s", (int)id.len, id.ptr ? id.ptr : "");
    arena_done(&a);
    return rc;
}

enum err_code gauth_project(struct gauth *g, const struct budget *budget, const char **ret, struct err *err)
{
    char asked[PROJECT_ID_MAX + 1];
    bool known;

    (void)pthread_mutex_lock(&g->lock);
    known = *g->project;
    (void)pthread_mutex_unlock(&g->lock);
    if (!known) {
        TRY(ask_project(g, budget, asked, err));
        (void)pthread_mutex_lock(&g->lock);
        if (!*g->project) /* written only once: other threads may hold a pointer to it */
            memcpy(g->project, asked, sizeof asked);
        (void)pthread_mutex_unlock(&g->lock);
    }
    *ret = g->project;
    return ERR_OK;
}

/* ---- account ---- */

static bool is_email(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] > '~' || strchr("'\"\\`$", s.ptr[i]))
            return false;
    return s.len > 0 && s.len < GAUTH_ACCOUNT_SIZE && memchr(s.ptr, '@', s.len);
}

bool gauth_account(const struct gauth *g, const struct budget *budget, char ret[GAUTH_ACCOUNT_SIZE])
{
    struct http_reply reply = { 0 };
    struct arena a = { 0 };
    enum next next;
    bool known = false;

    if (g->has_account) {
        (void)snprintf(ret, GAUTH_ACCOUNT_SIZE, "%s", g->account.client_email);
        return is_email(span_of(ret));
    }
    if (arena_init(&a, 1 << 20, NULL))
        return false;
    if (!(g->emulator[GAUTH_FIRESTORE] && g->emulator[GAUTH_STORAGE]) &&
        !metadata_get(g, "/instance/service-accounts/default/email", budget, &a, &reply, &next, NULL)) {
        known = is_email(reply.body);
        (void)snprintf(ret, GAUTH_ACCOUNT_SIZE, "%.*s", known ? (int)reply.body.len : 0, reply.body.ptr);
    }
    arena_done(&a);
    return known;
}

/* ---- identity ---- */

enum err_code gauth_identity(struct gauth *g, const char *audience, const struct budget *budget, struct arena *a,
                             char **ret, struct err *err)
{
    char *encoded, *path;
    struct span body;

    TRY(http_encode(a, span_of(audience), &encoded, err));
    if (!*audience || strlen(encoded) > IDENTITY_AUDIENCE_MAX)
        return err_set(err, ERR_INVALID, "the audience is empty, or longer than %d bytes", IDENTITY_AUDIENCE_MAX);
    TRY(arena_printf(a, &path, err, "/instance/service-accounts/default/identity?audience=%s&format=full", encoded));
    TRY(metadata_ask(g, path, budget, a, &body, err));
    TRY(span_dup(a, body, ret, err));
    if (!is_header_safe(*ret) || strlen(*ret) != body.len)
        return err_set(err, ERR_PROTOCOL, "metadata server: the answer is not a token");
    return ERR_OK;
}

/* ---- opening ---- */

static bool is_set(const char *text)
{
    return text && *text;
}

static const char env_name[] = "FIREBASE_CREDENTIALS", file_name[] = "GOOGLE_APPLICATION_CREDENTIALS";

static enum err_code read_file(const char *path, char *buf, size_t size, size_t *ret_n, struct err *err)
{
    int fd = -1; /* opened so that a pipe without a writer does not keep us waiting */
    enum err_code rc;
    struct stat st;
    FILE *file;
    bool failed;

    if (!path_is_plausible(path))
        return err_set(
            err, ERR_INVALID,
            "the value is not the path of a file, without blanks, quotes or line breaks around it; a key itself "
            "belongs in FIREBASE_CREDENTIALS");
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    file = fd < 0 ? NULL : fdopen(fd, "rb");
    if (!file) {
        rc = err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%.120s cannot be opened: %s", path,
                     strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return rc;
    }
    (void)setvbuf(file, NULL, _IONBF, 0); /* so that stdio keeps no copy of the key */
    failed = fstat(fd, &st) || !S_ISREG(st.st_mode);
    *ret_n = failed ? 0 : fread(buf, 1, size, file);
    failed = failed || ferror(file);
    (void)fclose(file);
    return failed ? err_set(err, ERR_IO, "%.120s cannot be read: is it a file?", path) : ERR_OK;
}

static enum token_uri_rule rule_of(const struct gauth_options *o)
{
    return o->allow_loopback_token_uri ? TOKEN_URI_GOOGLE_OR_LOOPBACK : TOKEN_URI_GOOGLE;
}

static enum err_code parse_file(const struct gauth_options *o, char *text, size_t size, struct service_account *ret,
                                struct err *err)
{
    size_t n = 0;

    TRY(read_file(o->credentials_file, text, size, &n, err));
    return service_account_parse((struct span){ text, n }, rule_of(o), ret, err);
}

static enum err_code load_file(struct gauth *g, const struct gauth_options *o, struct err *err)
{
    char text[SERVICE_ACCOUNT_TEXT_MAX];
    enum err_code rc = parse_file(o, text, sizeof text, &g->account, err);

    crypto_clear(text, sizeof text);
    return rc;
}

/* Each message begins with the setting that is to be mended. */
static enum err_code load_account(struct gauth *g, const struct gauth_options *o, const char *name, struct err *err)
{
    struct err why = { 0 };
    enum err_code rc = name == env_name
                           ? service_account_parse(span_of(o->firebase_credentials), rule_of(o), &g->account, &why)
                           : load_file(g, o, &why);

    if (rc)
        return err_set(err, rc, "%s: %s", name, why.msg);
    g->has_account = true;
    return ERR_OK;
}

/* With emulators of all services in use, a key is read only for the project that it names. */
static enum err_code choose_account(struct gauth *g, const struct gauth_options *o, struct err *err)
{
    bool only_emulators =
        o->emulator[GAUTH_FIRESTORE] && o->emulator[GAUTH_STORAGE] && (!o->uses_pubsub || o->emulator[GAUTH_PUBSUB]);
    const char *name = is_set(o->firebase_credentials) ? env_name : is_set(o->credentials_file) ? file_name : NULL;

    g->source = only_emulators ? "emulator" : name ? name : "metadata server";
    if (!name || (only_emulators && is_set(o->project)))
        return ERR_OK;
    return load_account(g, o, name, err);
}

static enum err_code setup(struct gauth *g, const struct gauth_options *o, struct err *err)
{
    const char *host = is_set(o->metadata_host) ? o->metadata_host : metadata_host;
    const char *project;

    if (!host_is_valid(host))
        return err_set(err, ERR_INVALID, "GCE_METADATA_HOST: '%.100s' is not host[:port]", host);
    (void)snprintf(g->metadata_base, sizeof g->metadata_base, "http://%s/computeMetadata/v1", host);
    TRY(choose_account(g, o, err));
    g->plain_token_uri = is_loopback_url(g->account.token_uri);
    project = is_set(o->project) ? o->project : g->account.project_id;
    if (*project && !project_id_is_valid(span_of(project)))
        return err_set(err, ERR_INVALID, "GOOGLE_CLOUD_PROJECT: '%.100s' is not a project id", project);
    (void)snprintf(g->project, sizeof g->project, "%s", project);
    return ERR_OK;
}

enum err_code gauth_open(const struct gauth_options *o, struct gauth **ret, struct err *err)
{
    struct gauth *g = calloc(1, sizeof *g);
    enum err_code rc;

    if (!g)
        return err_set(err, ERR_NOMEM, "gauth: no memory");
    g->http = o->http;
    g->sys = o->sys;
    g->jwt_bearer_grant = o->jwt_bearer_grant;
    g->scopes =
        o->uses_pubsub && !o->emulator[GAUTH_PUBSUB] ? SCOPES_OF_SESSIONS " " SCOPE_OF_PUBSUB : SCOPES_OF_SESSIONS;
    g->no_renewal_before_ms = INT64_MIN;
    memcpy(g->emulator, o->emulator, sizeof g->emulator);
    (void)pthread_mutex_init(&g->lock, NULL); /* on Linux neither this nor wait_cond_init can fail */
    (void)wait_cond_init(&g->attempt_ended);
    rc = setup(g, o, err);
    if (rc)
        gauth_close(g);
    else
        *ret = g;
    return rc;
}

void gauth_close(struct gauth *g)
{
    if (!g)
        return;
    service_account_done(&g->account);
    (void)pthread_cond_destroy(&g->attempt_ended);
    (void)pthread_mutex_destroy(&g->lock);
    crypto_clear(g, sizeof *g);
    free(g);
}

const char *gauth_source(const struct gauth *g)
{
    return g->source;
}
