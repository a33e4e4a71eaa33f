#include "worker/http/http_client.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "worker/http/egress.h"

enum {
    MAX_IDLE_HANDLES = 16,
    MAX_HEAD_BYTES = 65536,
    CONNECT_TIMEOUT_MS = 10000,
    LOW_SPEED_BYTES_PER_S = 10000,
    RETRY_AFTER_MAX_MS = 60000,
    TAKEN_AT_ONCE_BYTES = 512 << 10 /* the most that libcurl hands over */
};

struct client {
    struct http http; /* what callers hold */
    struct egress egress;
    pthread_mutex_t lock;
    CURL *idle[MAX_IDLE_HANDLES];
    int n_idle;
};

/* Bytes from the network; the buffer grows by doubling, up to max. */
struct buffer {
    char *ptr;
    size_t len, size, max;
};

/* The state of one call. */
struct transfer {
    CURL *curl;
    const struct http_request *req;
    const struct egress *egress;
    struct curl_slist *headers;
    bool connected; /* to the host itself: what was sent before went to a proxy */
    size_t body_sent;
    struct buffer head, body;
    size_t taken; /* bytes of the body that the request's `take` has got */
    bool head_done;
    enum err_code fault; /* why a callback stopped the transfer */
    char detail[CURL_ERROR_SIZE];
};

/* ---- callbacks ---- */

static enum err_code buffer_add(struct buffer *b, const char *bytes, size_t n)
{
    size_t size = b->size ? b->size : 1024;
    char *grown;

    if (n > b->max - b->len)
        return ERR_TOO_LARGE;
    while (size < b->len + n)
        size *= 2;
    if (size > b->size) {
        grown = realloc(b->ptr, size);
        if (!grown)
            return ERR_NOMEM;
        b->ptr = grown;
        b->size = size;
    }
    if (n)
        memcpy(b->ptr + b->len, bytes, n);
    b->len += n;
    return ERR_OK;
}

/* Called for each line. A status line discards the interim reply (1xx) before it; trailers are not headers. */
static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    struct span s = { line, size * n };

    if (span_starts(s, "HTTP/")) {
        t->head.len = 0;
        t->head_done = false;
        return s.len;
    }
    if (span_is(s, "\r\n") || span_is(s, "\n"))
        t->head_done = true;
    if (t->head_done)
        return s.len;
    t->fault = buffer_add(&t->head, s.ptr, s.len);
    return t->fault ? 0 : s.len;
}

/* Hands the bytes to whoever wants them one by one. */
static enum err_code hand_over(struct transfer *t, int status, const char *bytes, size_t n)
{
    if (n > t->req->max_reply_bytes - t->taken || !t->req->take(t->req->take_ctx, status, bytes, n))
        return ERR_TOO_LARGE;
    t->taken += n;
    return ERR_OK;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    long status = 0;

    if (t->req->take)
        (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200 || status == 206) {
        t->fault = hand_over(t, (int)status, bytes, size * n);
        return t->fault ? 0 : size * n;
    }
    t->fault = buffer_add(&t->body, bytes, size * n);
    return t->fault ? 0 : size * n;
}

static size_t on_send(char *to, size_t size, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    size_t left = t->req->body.len - t->body_sent, room = size * n, piece = left < room ? left : room;

    if (piece)
        memcpy(to, t->req->body.ptr + t->body_sent, piece);
    t->body_sent += piece;
    return piece;
}

/*
 * libcurl sends a request again on its own when a reused connection ends without an answer. For a write the caller must
 * decide that, so rewinding a body that was sent is refused, and the call ends as ERR_UNKNOWN_OUTCOME.
 */
static int on_rewind(void *ctx, curl_off_t offset, int origin)
{
    (void)ctx, (void)offset, (void)origin;
    return CURL_SEEKFUNC_FAIL;
}

static int on_connected(void *ctx, char *host_ip, char *own_ip, int host_port, int own_port)
{
    struct transfer *t = ctx;

    (void)host_ip, (void)own_ip, (void)host_port, (void)own_port;
    t->connected = true;
    return CURL_PREREQFUNC_OK;
}

static int on_progress(void *ctx, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    const struct transfer *t = ctx;

    (void)down_total, (void)down, (void)up_total, (void)up;
    return budget_cancelled(t->req->budget);
}

/* ---- the request ---- */

static bool is_method(const char *text)
{
    static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE" };

    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(text, methods[i]) == 0)
            return true;
    return false;
}

/* What stands between "//" and the path: user, host and port. */
static struct span authority_of(const char *url)
{
    const char *at = strstr(url, "//");

    at = at ? at + 2 : url + strlen(url);
    return (struct span){ at, strcspn(at, "/?#\\") };
}

static bool is_printable(const char *url)
{
    for (const char *p = url; *p; p++)
        if (*p <= ' ' || *p >= 0x7F || *p == '\\')
            return false;
    return true;
}

static bool has_user(const char *url)
{
    struct span authority = authority_of(url);

    return memchr(authority.ptr, '@', authority.len);
}

static bool is_url(const char *url, bool allow_plain)
{
    if (strncmp(url, "https://", 8) != 0 && !(allow_plain && strncmp(url, "http://", 7) == 0))
        return false;
    return is_printable(url) && !has_user(url);
}

/* Scheme, host and port of a URL for messages: the path may hold names, the query a signature, the user a password. */
static struct span url_origin(const char *url)
{
    struct span authority = authority_of(url);
    size_t n = (size_t)(authority.ptr - url);

    return (struct span){ url, has_user(url) ? n : n + authority.len };
}

static enum err_code check_request(const struct http_request *req, struct err *err)
{
    if (!is_method(req->method))
        return err_set(err, ERR_INVALID, "http: '%.20s' is not a method that this client sends", req->method);
    if (!is_url(req->url, req->allow_plain))
        return err_set(err, ERR_INVALID, "http: a URL must be %s, printable ASCII and without a user: %.*s",
                       req->allow_plain ? "http or https" : "https", SPAN_ARG(url_origin(req->url)));
    if (req->timeout_ms <= 0)
        return err_set(err, ERR_INVALID, "http: a call needs a timeout");
    for (int i = 0; i < req->n_headers; i++)
        if (!*req->headers[i].name || strpbrk(req->headers[i].name, ": \t\r\n") ||
            strpbrk(req->headers[i].value, "\r\n"))
            return err_set(err, ERR_INVALID, "http: header %d has a line break or no name", i);
    return ERR_OK;
}

static bool has_header(const struct http_request *req, const char *name)
{
    for (int i = 0; i < req->n_headers; i++)
        if (strcasecmp(req->headers[i].name, name) == 0)
            return true;
    return false;
}

static bool add_line(struct transfer *t, const char *line)
{
    struct curl_slist *longer = curl_slist_append(t->headers, line);

    if (longer)
        t->headers = longer;
    return longer;
}

static enum err_code build_headers(struct transfer *t, struct err *err)
{
    bool good = add_line(t, "Expect:"); /* else libcurl sends it, and waits a second before a large body */

    if (t->req->chunked && t->req->body.len > 0)
        good = good && add_line(t, "Transfer-Encoding: chunked");
    if (!has_header(t->req, "content-type"))
        good = good && add_line(t, "Content-Type:"); /* else libcurl declares the body to be a form */
    for (int i = 0; i < t->req->n_headers && good; i++) {
        const struct http_header *h = &t->req->headers[i];
        char *line = NULL;

        /* for libcurl, "Name;" is a header without a value */
        good = asprintf(&line, *h->value ? "%s: %s" : "%s;", h->name, h->value) >= 0 && add_line(t, line);
        free(line);
    }
    return good ? ERR_OK : err_set(err, ERR_NOMEM, "http: no memory for headers");
}

static void set_body(const struct transfer *t)
{
    CURL *c = t->curl;
    bool get = strcmp(t->req->method, "GET") == 0, head = strcmp(t->req->method, "HEAD") == 0;

    if (t->req->body.len > 0) {
        (void)curl_easy_setopt(c, CURLOPT_POST, 1L);
        if (!t->req->chunked)
            (void)curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->req->body.len);
        (void)curl_easy_setopt(c, CURLOPT_READFUNCTION, on_send);
        (void)curl_easy_setopt(c, CURLOPT_READDATA, t);
        (void)curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_rewind);
    } else if (head) {
        (void)curl_easy_setopt(c, CURLOPT_NOBODY, 1L); /* an answer has the length of a body that does not come */
    } else if (!get) {
        if (strcmp(t->req->method, "DELETE") != 0)
            (void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, "");
        (void)curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L); /* without a body, on_rewind is not called */
    }
    (void)curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, t->req->method);
}

/* A proxy that is set here, be it "", keeps libcurl from reading the environment; what goes to the proxy is not part of
 * the request, and what it answers not part of the reply. */
static void set_egress(const struct transfer *t)
{
    const struct egress *e = t->egress;
    bool is_plain = strncmp(t->req->url, "http://", 7) == 0;
    CURL *c = t->curl;

    (void)curl_easy_setopt(c, CURLOPT_PROXY, e->proxy && !is_plain ? e->proxy : "");
    (void)curl_easy_setopt(c, CURLOPT_NOPROXY, e->proxy && !is_plain ? e->no_proxy : "*");
    (void)curl_easy_setopt(c, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
    (void)curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    if (e->ca_file) {
        (void)curl_easy_setopt(c, CURLOPT_CAINFO, e->ca_file);
        (void)curl_easy_setopt(c, CURLOPT_PROXY_CAINFO, e->ca_file);
    }
    if (e->ca_dir) {
        (void)curl_easy_setopt(c, CURLOPT_CAPATH, e->ca_dir);
        (void)curl_easy_setopt(c, CURLOPT_PROXY_CAPATH, e->ca_dir);
    }
}

static void set_options(struct transfer *t, int64_t timeout_ms)
{
    CURL *c = t->curl;
    const struct http_request *req = t->req;

    (void)curl_easy_setopt(c, CURLOPT_URL, req->url);
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, req->allow_plain ? "http,https" : "https");
    (void)curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L); /* object names may hold "/../" */
    (void)curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_PREREQFUNCTION, on_connected);
    (void)curl_easy_setopt(c, CURLOPT_PREREQDATA, t);
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    (void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
                           (long)(timeout_ms < CONNECT_TIMEOUT_MS ? timeout_ms : CONNECT_TIMEOUT_MS));
    if (req->low_speed_ms > 0) {
        (void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)LOW_SPEED_BYTES_PER_S);
        (void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)((req->low_speed_ms + 999) / 1000));
    }
    (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
    (void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    (void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->detail);
    if (req->take)
        (void)curl_easy_setopt(c, CURLOPT_BUFFERSIZE, (long)TAKEN_AT_ONCE_BYTES);
    if (req->budget) {
        (void)curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
        (void)curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
        (void)curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
    }
    set_egress(t);
    set_body(t);
}

/* ---- the reply ---- */

/* The headers as they are read; a value that is joined doubles its room. */
struct head_reader {
    struct arena *a;
    struct http_reply *reply;
    struct {
        char *text;
        size_t len, room;
    } values[HTTP_REPLY_MAX_HEADERS];
};

/* The number of the header, which is a new one unless it was there before. */
static enum err_code find_header(struct head_reader *h, struct span name, int *ret, struct err *err)
{
    struct http_reply *r = h->reply;
    char *key = NULL;

    for (*ret = 0; *ret < r->n_headers; ++*ret)
        if (strlen(r->headers[*ret].name) == name.len && strncasecmp(r->headers[*ret].name, name.ptr, name.len) == 0)
            return ERR_OK;
    if (r->n_headers == HTTP_REPLY_MAX_HEADERS)
        return err_set(err, ERR_TOO_LARGE, "http: the reply has more than %d headers", HTTP_REPLY_MAX_HEADERS);
    TRY(span_dup(h->a, name, &key, err));
    for (char *p = key; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    r->headers[r->n_headers++] = (struct http_header){ key, NULL };
    return ERR_OK;
}

static enum err_code take_header(struct head_reader *h, struct span name, struct span value, struct err *err)
{
    bool is_first;
    size_t need;
    char *grown;
    int i;

    TRY(find_header(h, name, &i, err));
    is_first = !h->values[i].text;
    need = h->values[i].len + value.len + sizeof ", ";
    if (need > h->values[i].room) {
        h->values[i].room = is_first ? need : 2 * need;
        TRY(arena_alloc(h->a, h->values[i].room, 1, &grown, err));
        if (!is_first)
            memcpy(grown, h->values[i].text, h->values[i].len);
        h->values[i].text = grown;
    }
    h->values[i].len += (size_t)snprintf(h->values[i].text + h->values[i].len, h->values[i].room - h->values[i].len,
                                         "%s%.*s", is_first ? "" : ", ", (int)value.len, value.ptr);
    h->reply->headers[i].value = h->values[i].text;
    return ERR_OK;
}

static struct span trimmed(struct span s)
{
    while (s.len > 0 && strchr(" \t\r\n", s.ptr[s.len - 1]))
        s.len--;
    while (s.len > 0 && (*s.ptr == ' ' || *s.ptr == '\t'))
        s.ptr++, s.len--;
    return s;
}

static enum err_code take_head(const struct buffer *head, struct arena *a, struct http_reply *r, struct err *err)
{
    struct head_reader h = { .a = a, .reply = r };
    struct span rest = { head->ptr, head->len };

    while (rest.len > 0) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        size_t n = end ? (size_t)(end - rest.ptr) + 1 : rest.len;
        const char *colon = memchr(rest.ptr, ':', n);

        if (colon && colon > rest.ptr && *rest.ptr != ' ' && *rest.ptr != '\t') {
            struct span name = { rest.ptr, (size_t)(colon - rest.ptr) };

            TRY(take_header(&h, trimmed(name), trimmed((struct span){ colon + 1, n - name.len - 1 }), err));
        }
        rest.ptr += n;
        rest.len -= n;
    }
    return ERR_OK;
}

static enum err_code take_reply(const struct transfer *t, struct arena *a, struct http_reply *ret, struct err *err)
{
    struct http_reply r = { .sent_bytes = t->body_sent };
    char *body = NULL;
    long status = 0;

    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    r.status = (int)status;
    TRY(take_head(&t->head, a, &r, err));
    TRY(span_dup(a, (struct span){ t->body.ptr, t->body.len }, &body, err));
    r.body = (struct span){ body, t->body.len };
    *ret = r;
    return ERR_OK;
}

/* The usable part of a reply that broke off: its head, if that is whole, and the beginning of its body. */
static void take_part(const struct transfer *t, struct arena *a, struct http_reply *ret)
{
    if (!t->head_done || take_reply(t, a, ret, NULL))
        *ret = (struct http_reply){ 0 };
}

/* What the environment has to do with a failure before the request. */
static const char *remedy(const struct transfer *t, CURLcode code)
{
    if (code == CURLE_SSL_CACERT_BADFILE)
        return " (SSL_CERT_FILE or SSL_CERT_DIR)";
    if (code == CURLE_PEER_FAILED_VERIFICATION && !strstr(t->detail, "issuer") && !strstr(t->detail, "self"))
        return ""; /* the certificate itself is wrong, whoever has signed it */
    if (code == CURLE_PEER_FAILED_VERIFICATION)
        return t->egress->ca_file || t->egress->ca_dir
                   ? " (trusted are the authorities of SSL_CERT_FILE and SSL_CERT_DIR)"
                   : " (SSL_CERT_FILE can name the authorities to trust)";
    return t->egress->proxy && !t->connected ? " (by the proxy of HTTPS_PROXY)" : "";
}

/* libcurl quotes the setting of a proxy that it cannot use, password and all. */
static const char *reason(const struct transfer *t, CURLcode code)
{
    return *t->detail && !span_starts(span_of(t->detail), "Unsupported proxy") ? t->detail : curl_easy_strerror(code);
}

/* The error of a call without a whole reply: once a byte of the request has been sent, its outcome is unknown. */
static enum err_code failure(const struct transfer *t, CURLcode code, struct err *err)
{
    struct span origin = url_origin(t->req->url);
    const char *why = reason(t, code);
    long sent = 0;

    if (t->fault == ERR_TOO_LARGE)
        return err_set(err, ERR_TOO_LARGE, "http: %s %.*s: the reply is longer than %zu bytes", t->req->method,
                       SPAN_ARG(origin), t->req->max_reply_bytes);
    if (t->fault == ERR_NOMEM || code == CURLE_OUT_OF_MEMORY)
        return err_set(err, ERR_NOMEM, "http: %s %.*s: no memory", t->req->method, SPAN_ARG(origin));
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return err_set(err, ERR_CANCELLED, "http: %s %.*s: cancelled", t->req->method, SPAN_ARG(origin));
    if (t->connected)
        (void)curl_easy_getinfo(t->curl, CURLINFO_REQUEST_SIZE, &sent);
    if (!sent && code == CURLE_URL_MALFORMAT)
        return err_set(err, ERR_INVALID, "http: %.*s: %s", SPAN_ARG(origin), why);
    return err_set(err, sent ? ERR_UNKNOWN_OUTCOME : ERR_UNAVAILABLE, "http: %s %.*s: %s%s", t->req->method,
                   SPAN_ARG(origin), why, sent ? "" : remedy(t, code));
}

/* ---- handles and the call ---- */

static CURL *borrow_handle(struct client *c)
{
    CURL *curl = NULL;

    (void)pthread_mutex_lock(&c->lock);
    if (c->n_idle > 0)
        curl = c->idle[--c->n_idle]; /* the handle used last has the youngest connections */
    (void)pthread_mutex_unlock(&c->lock);
    return curl ? curl : curl_easy_init();
}

static void return_handle(struct client *c, CURL *curl)
{
    if (!curl)
        return;
    curl_easy_reset(curl); /* options go, connections stay */
    (void)pthread_mutex_lock(&c->lock);
    if (c->n_idle < MAX_IDLE_HANDLES) {
        c->idle[c->n_idle++] = curl;
        curl = NULL;
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (curl)
        curl_easy_cleanup(curl);
}

static enum err_code time_allowed(const struct http_request *req, int64_t *ret_ms, struct err *err)
{
    int64_t ms = req->timeout_ms, left = req->budget ? budget_left_ms(req->budget) : ms;

    if (budget_cancelled(req->budget))
        return err_set(err, ERR_CANCELLED, "http: cancelled before %s %.*s", req->method,
                       SPAN_ARG(url_origin(req->url)));
    if (left == 0)
        return err_set(err, ERR_DEADLINE, "http: no time left for %s %.*s", req->method,
                       SPAN_ARG(url_origin(req->url)));
    *ret_ms = left < ms ? left : ms;
    return ERR_OK;
}

static enum err_code perform(struct transfer *t, int64_t timeout_ms, struct arena *a, struct http_reply *ret,
                             struct err *err)
{
    CURLcode code;
    enum err_code rc;

    TRY(build_headers(t, err));
    set_options(t, timeout_ms);
    code = curl_easy_perform(t->curl);
    if (code == CURLE_OK && !t->head_done)
        code = CURLE_PARTIAL_FILE; /* libcurl takes a head that ends with the connection for a whole one */
    rc = code == CURLE_OK ? take_reply(t, a, ret, err) : failure(t, code, err);
    if (rc == ERR_UNKNOWN_OUTCOME || rc == ERR_TOO_LARGE)
        take_part(t, a, ret);
    return rc;
}

static enum err_code client_send(void *ctx, const struct http_request *req, struct arena *a, struct http_reply *ret,
                                 struct err *err)
{
    const struct client *c = ctx;
    struct transfer t = { .req = req, .head = { .max = MAX_HEAD_BYTES }, .body = { .max = req->max_reply_bytes } };
    int64_t timeout_ms = 0;
    enum err_code rc;

    TRY(check_request(req, err));
    TRY(time_allowed(req, &timeout_ms, err));
    t.egress = &c->egress;
    t.curl = borrow_handle(ctx);
    rc = t.curl ? perform(&t, timeout_ms, a, ret, err) : err_set(err, ERR_NOMEM, "http: no memory for a curl handle");
    return_handle(ctx, t.curl);
    curl_slist_free_all(t.headers);
    free(t.head.ptr);
    free(t.body.ptr);
    return rc;
}

static CURLcode curl_ready;

static void init_curl(void)
{
    /* OpenSSL writes without MSG_NOSIGNAL, and with CURLOPT_NOSIGNAL libcurl does not block the signal */
    (void)signal(SIGPIPE, SIG_IGN);
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

enum err_code http_client_open(struct http **ret, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct client *c;
    enum err_code rc;

    (void)pthread_once(&once, init_curl);
    if (curl_ready != CURLE_OK)
        return err_set(err, ERR_INTERNAL, "http: libcurl does not start: %s", curl_easy_strerror(curl_ready));
    c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, ERR_NOMEM, "http: no memory");
    rc = egress_read(&c->egress, err);
    if (rc) {
        egress_done(&c->egress);
        free(c);
        return rc;
    }
    (void)pthread_mutex_init(&c->lock, NULL);
    c->http = (struct http){ .ctx = c, .send = client_send };
    *ret = &c->http;
    return ERR_OK;
}

void http_client_close(struct http *h)
{
    struct client *c = h ? h->ctx : NULL;

    if (!c)
        return;
    while (c->n_idle > 0)
        curl_easy_cleanup(c->idle[--c->n_idle]);
    (void)pthread_mutex_destroy(&c->lock);
    egress_done(&c->egress);
    free(c);
}

/* ---- headers, escapes, statuses ---- */

const char *http_reply_header(const struct http_reply *r, const char *lower_case_name)
{
    for (int i = 0; i < r->n_headers; i++)
        if (strcmp(r->headers[i].name, lower_case_name) == 0)
            return r->headers[i].value;
    return NULL;
}

void http_request_header(struct http_request *r, const char *name, const char *value)
{
    assert(r->n_headers < HTTP_MAX_HEADERS);
    r->headers[r->n_headers++] = (struct http_header){ name, value };
}

enum err_code http_encode(struct arena *a, struct span text, char **ret, struct err *err)
{
    static const char kept[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    static const char hex[] = "0123456789ABCDEF";
    char *out = NULL, *p;
    enum err_code rc = arena_alloc(a, text.len + 1, 3, &out, err);

    if (rc)
        return rc;
    p = out;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c && strchr(kept, c)) {
            *p++ = (char)c;
        } else {
            *p++ = '%';
            *p++ = hex[c >> 4];
            *p++ = hex[c & 15];
        }
    }
    *ret = out;
    return ERR_OK;
}

enum err_code http_encode_path(struct arena *a, const char *path, char **ret, struct err *err)
{
    TRY(span_dup(a, SPAN(""), ret, err));
    for (const char *at = path; *at;) {
        size_t n = strcspn(at, "/");
        char *segment;

        TRY(http_encode(a, (struct span){ at, n }, &segment, err));
        TRY(arena_printf(a, ret, err, "%s/%s", *ret, segment));
        at += n + (at[n] == '/');
    }
    return ERR_OK;
}

static bool same_part(CURLU *one, CURLU *other, CURLUPart part)
{
    char *a = NULL, *b = NULL;
    bool same = curl_url_get(one, part, &a, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                curl_url_get(other, part, &b, CURLU_DEFAULT_PORT) == CURLUE_OK && strcasecmp(a, b) == 0;

    curl_free(a);
    curl_free(b);
    return same;
}

/* What libcurl would decode or cut off in a host or behind a path is refused: nobody needs it. */
static bool is_plain_reference(const char *reference)
{
    struct span authority = authority_of(reference);

    return is_printable(reference) && !strchr(reference, '#') && !has_user(reference) &&
           !memchr(authority.ptr, '%', authority.len);
}

static bool resolve(CURLU *from, CURLU *to, const char *base, const char *reference)
{
    const unsigned flags = CURLU_DISALLOW_USER | CURLU_PATH_AS_IS;

    return from && to && curl_url_set(from, CURLUPART_URL, base, flags) == CURLUE_OK &&
           curl_url_set(to, CURLUPART_URL, base, flags) == CURLUE_OK &&
           curl_url_set(to, CURLUPART_URL, reference, flags) == CURLUE_OK && same_part(from, to, CURLUPART_SCHEME) &&
           same_part(from, to, CURLUPART_HOST) && same_part(from, to, CURLUPART_PORT);
}

enum err_code http_own_url(const char *base, const char *reference, char *ret, size_t size, struct err *err)
{
    CURLU *from = curl_url(), *to = curl_url();
    char *url = NULL;
    bool good = is_plain_reference(reference) && resolve(from, to, base, reference) &&
                curl_url_get(to, CURLUPART_URL, &url, 0) == CURLUE_OK && strlen(url) < size;

    if (good)
        (void)snprintf(ret, size, "%s", url);
    curl_free(url);
    curl_url_cleanup(to);
    curl_url_cleanup(from);
    return good ? ERR_OK
                : err_set(err, ERR_PROTOCOL, "the server's address '%.*s' is not one of %.*s: nothing is sent there",
                          SPAN_ARG(url_origin(reference)), SPAN_ARG(url_origin(base)));
}

/* By the server's own clock where it says, since this machine's may be hours off. */
static int64_t date_of_reply_ms(const struct http_reply *r, const struct sys *sys)
{
    const char *text = http_reply_header(r, "date");
    time_t date = text ? curl_getdate(text, NULL) : (time_t)-1;

    return date == (time_t)-1 ? sys_wall_us(sys) / 1000 : (int64_t)date * 1000;
}

/* RFC 9110 10.2.3: seconds or a date. A value that is neither counts as absent. */
int64_t http_retry_after_ms(const struct http_reply *r, const struct sys *sys)
{
    const char *text = http_reply_header(r, "retry-after");
    int64_t ms;
    time_t date;

    if (!text || !*text)
        return 0;
    if (text[strspn(text, "0123456789")] == 0) {
        unsigned long seconds = strtoul(text, NULL, 10); /* saturates */

        return seconds > RETRY_AFTER_MAX_MS / 1000 ? RETRY_AFTER_MAX_MS : (int64_t)seconds * 1000;
    }
    date = curl_getdate(text, NULL);
    if (date == (time_t)-1)
        return 0;
    ms = (int64_t)date * 1000 - date_of_reply_ms(r, sys);
    return ms < 0 ? 0 : ms > RETRY_AFTER_MAX_MS ? RETRY_AFTER_MAX_MS : ms;
}

bool http_status_is_transient(int status)
{
    return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}
