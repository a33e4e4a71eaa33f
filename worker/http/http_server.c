#include "worker/http/http_server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <microhttpd.h>

#include "worker/base/wait.h"

enum {
    HANDLER_STACK_BYTES = 4 << 20,
    SEND_BUFFER_BYTES = 32 << 10,    /* answers are short; without a limit the kernel keeps megabytes for a client that
                                        asks and never reads */
    READ_INCREMENT_BYTES = 16 << 10, /* of the buffer for a head, which is read from its begin after each growth */
    ALLOW_SIZE = 64,
    BESIDE_HANDLERS = 16 /* places of connections, however few files there are */
};

/*
 * The stage of a request. While a handler's thread works on it (LOOKING, WORKING), its connection is suspended, and the
 * daemon's thread does not touch it.
 */
enum stage {
    LOOKING,  /* on_headers runs */
    LOOKED,   /* on_headers has accepted: read the body */
    READING,  /* the body arrives */
    WORKING,  /* on_request runs */
    ANSWERED, /* the reply is made, but not yet handed to the daemon */
    LEAVING   /* the daemon sends the reply */
};

struct exchange {
    struct http_server *server;
    struct MHD_Connection *connection;
    struct connection *client;
    const struct http_server_route *route;
    enum stage stage;
    bool busy;           /* is counted in server->busy */
    uint64_t body_bytes; /* as announced; UINT64_MAX: chunked */
    uint64_t received;
    bool body_read;   /* the whole body has arrived */
    size_t body_size; /* bytes allocated for `body` */
    char *body;
    struct arena arena;
    struct http_server_request req;
    struct http_server_reply reply;
};

struct http_server {
    struct http_server_options opt;
    struct MHD_Daemon *daemon;
    struct connections connections;
    struct linger_set linger;
    pthread_mutex_t lock;
    pthread_cond_t quieter; /* `threads` or `busy` has changed */
    int handlers;           /* running now */
    int threads;            /* handler threads: each outlives its handler a little, to wake the daemon */
    int busy;               /* requests between their handler's start and the last byte of their answer */
    bool draining, stopping;
};

/* ---- counting requests and handlers ---- */

static void set_busy(struct exchange *x, bool busy)
{
    struct http_server *s = x->server;

    (void)pthread_mutex_lock(&s->lock);
    s->busy += (int)busy - (int)x->busy;
    x->busy = busy;
    (void)pthread_cond_broadcast(&s->quieter);
    (void)pthread_mutex_unlock(&s->lock);
}

/* Takes a handler's place. Returns 0, or the status to answer with when there is none. */
static int admit_handler(struct http_server *s)
{
    int refusal;

    (void)pthread_mutex_lock(&s->lock);
    refusal = s->stopping ? 503 : s->handlers < s->opt.max_handlers ? 0 : 429;
    s->handlers += !refusal;
    s->threads += !refusal;
    (void)pthread_mutex_unlock(&s->lock);
    return refusal;
}

static void handler_returned(struct http_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->handlers--;
    (void)pthread_mutex_unlock(&s->lock);
}

static void thread_left(struct http_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->threads--;
    (void)pthread_cond_broadcast(&s->quieter);
    (void)pthread_mutex_unlock(&s->lock);
}

static bool is_draining(struct http_server *s)
{
    bool draining;

    (void)pthread_mutex_lock(&s->lock);
    draining = s->draining;
    (void)pthread_mutex_unlock(&s->lock);
    return draining;
}

/* ---- answers ---- */

void http_server_reply_header(struct http_server_reply *r, const char *name, const char *value)
{
    assert(r->n_headers < HTTP_SERVER_REPLY_HEADERS);
    r->headers[r->n_headers++] = (struct http_server_header){ name, value };
}

static enum MHD_Result answer(struct exchange *x)
{
    const struct http_server_reply *r = &x->reply;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(r->body.len, (void *)r->body.ptr, MHD_RESPMEM_MUST_COPY);
    bool early = !x->body_read && x->body_bytes > 0;
    enum MHD_Result result = MHD_YES;

    if (!response)
        return MHD_NO;
    if (r->content_type)
        result = MHD_add_response_header(response, "Content-Type", r->content_type);
    for (int i = 0; i < r->n_headers && result; i++)
        result = MHD_add_response_header(response, r->headers[i].name, r->headers[i].value);
    if (result && (early || is_draining(x->server)))
        result = MHD_add_response_header(response, "Connection", "close");
    if (result && early)
        linger_on(&x->server->linger,
                  MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
    x->stage = LEAVING;
    connections_set_stage(&x->server->connections, x->client, CONNECTION_ANSWER);
    if (result)
        result = MHD_queue_response(x->connection, (unsigned)r->status, response);
    MHD_destroy_response(response);
    return result;
}

/* An answer of the server itself, not of a handler. */
static enum MHD_Result answer_status(struct exchange *x, int status)
{
    x->reply = (struct http_server_reply){ .status = status };
    return answer(x);
}

/* ---- handlers ---- */

static void make_answer(struct exchange *x)
{
    x->reply = (struct http_server_reply){ .status = 500 };
    x->route->on_request(x->route->ctx, &x->req, &x->reply);
    x->stage = ANSWERED;
}

static void look_at_headers(struct exchange *x)
{
    x->reply = (struct http_server_reply){ .status = 500 };
    x->stage = LOOKED;
    if (x->route->on_headers && !x->route->on_headers(x->route->ctx, &x->req, &x->reply)) {
        x->stage = ANSWERED;
    } else if (x->body_bytes != UINT64_MAX && x->body_bytes > x->server->opt.max_body_bytes) {
        x->req.body_too_large = true;
        make_answer(x);
    }
}

static void *run_handler(void *arg)
{
    struct exchange *x = arg;
    struct http_server *s = x->server;

    if (x->stage == LOOKING)
        look_at_headers(x);
    else
        make_answer(x);
    handler_returned(s);                  /* first, so that the place is free for the next step of this request */
    MHD_resume_connection(x->connection); /* from here on x may have been freed */
    thread_left(s);
    return NULL;
}

/* Suspends the connection and starts a thread for this stage of the request. */
static enum MHD_Result start_handler(struct exchange *x, enum stage stage)
{
    pthread_attr_t attr;
    pthread_t thread;
    int failed, refusal = admit_handler(x->server);

    if (refusal)
        return answer_status(x, refusal);
    x->stage = stage;
    connections_set_stage(&x->server->connections, x->client, CONNECTION_WORK);
    set_busy(x, true);
    MHD_suspend_connection(x->connection);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, HANDLER_STACK_BYTES);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    failed = pthread_create(&thread, &attr, run_handler, x);
    (void)pthread_attr_destroy(&attr);
    if (failed) {
        handler_returned(x->server);
        thread_left(x->server);
        x->reply = (struct http_server_reply){ .status = 503 };
        x->stage = ANSWERED;
        MHD_resume_connection(x->connection);
    }
    return MHD_YES;
}

/* ---- the headers of a request ---- */

static const char no_cookie[] = ""; /* known by its address: see keep_no_names */

struct copy {
    struct exchange *x;
    enum err_code rc;
};

static enum err_code add_header(struct exchange *x, const char *name, const char *value)
{
    struct http_server_request *r = &x->req;
    char *name_copy, *value_copy;

    if (r->n_headers == HTTP_SERVER_MAX_HEADERS)
        return ERR_TOO_LARGE;
    TRY(span_dup(&x->arena, span_of(name), &name_copy, NULL));
    TRY(span_dup(&x->arena, span_of(value), &value_copy, NULL));
    r->headers[r->n_headers++] = (struct http_server_header){ name_copy, value_copy };
    return ERR_OK;
}

/*
 * Both texts are the client's line itself, where a colon and blanks stood between them. If they do not lie like that,
 * the next line began with a blank (RFC 9112 5.2), which libmicrohttpd appends to a copy of the *name*. Blanks before
 * the colon (5.1) it takes for a part of the name. Either hides a Content-Length from one of two readers.
 */
static bool is_one_line(const char *name, const char *value)
{
    size_t n = strlen(name);
    const uintptr_t end = (uintptr_t)name + n, begin = (uintptr_t)value;

    return begin > end && strspn(name + n + 1, " \t") >= begin - end - 1 &&
           !(n && (name[n - 1] == ' ' || name[n - 1] == '\t'));
}

static enum MHD_Result copy_header(void *ctx, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct copy *c = ctx;

    (void)kind;
    if (value == no_cookie)
        return MHD_YES;
    c->rc = value && is_one_line(name, value) ? add_header(c->x, name, value) : ERR_INVALID;
    return c->rc ? MHD_NO : MHD_YES;
}

/* The first value of a header; NULL: there is none. */
static const char *first_value(const struct http_server_request *r, const char *name)
{
    struct span first;

    return http_server_values(r, name, &first, 1) > 0 ? first.ptr : NULL;
}

static enum err_code copy_request(struct exchange *x, const char *method, const char *url)
{
    struct copy c = { .x = x };
    char *path, *verb;

    TRY(span_dup(&x->arena, (struct span){ url, strcspn(url, "?") }, &path, NULL));
    TRY(span_dup(&x->arena, span_of(method), &verb, NULL));
    x->req.method = verb;
    x->req.path = path;
    x->req.arena = &x->arena;
    x->req.arrived_mono_ms = sys_mono_ms(x->server->opt.sys);
    (void)MHD_get_connection_values(x->connection, MHD_HEADER_KIND, copy_header, &c);
    log_context_trace(&x->req.log, first_value(&x->req, "traceparent"), first_value(&x->req, "x-cloud-trace-context"));
    return c.rc;
}

/* Reads the length of the body. false: two readers could understand the framing differently (RFC 9112 6.3). */
static bool read_framing(struct exchange *x)
{
    struct span length[2], coding[2];
    int n_length = http_server_values(&x->req, "content-length", length, 2);
    int n_coding = http_server_values(&x->req, "transfer-encoding", coding, 2);

    x->body_bytes = 0;
    if (n_length + n_coding > 1)
        return false;
    if (n_coding) {
        x->body_bytes = UINT64_MAX;
        return strcasecmp(coding[0].ptr, "chunked") == 0;
    }
    if (n_length) {
        if (!length[0].len || length[0].len > 18 || strspn(length[0].ptr, "0123456789") != length[0].len)
            return false;
        x->body_bytes = strtoull(length[0].ptr, NULL, 10);
    }
    return true;
}

/* The route; or NULL, and in `allow` the methods of the path ("": there is no such path). */
static const struct http_server_route *find_route(const struct http_server_options *o, const char *method,
                                                  const char *path, char allow[ALLOW_SIZE])
{
    allow[0] = 0;
    for (int i = 0; i < o->n_routes; i++) {
        size_t n = strlen(allow);

        if (strcmp(o->routes[i].path, path) != 0)
            continue;
        if (strcmp(o->routes[i].method, method) == 0)
            return &o->routes[i];
        (void)snprintf(allow + n, ALLOW_SIZE - n, "%s%s", n ? ", " : "", o->routes[i].method);
    }
    return NULL;
}

static enum MHD_Result refuse_method(struct exchange *x, const char *allow)
{
    char *copy = NULL;

    if (!*allow || span_dup(&x->arena, span_of(allow), &copy, NULL))
        return answer_status(x, 404);
    x->reply = (struct http_server_reply){ .status = 405 };
    http_server_reply_header(&x->reply, "Allow", copy);
    return answer(x);
}

static enum MHD_Result on_first_call(struct exchange *x, const char *method, const char *url)
{
    enum err_code rc = copy_request(x, method, url);
    char allow[ALLOW_SIZE];

    if (rc && rc != ERR_INVALID)
        return answer_status(x, rc == ERR_TOO_LARGE ? 431 : 503);
    if (rc || !read_framing(x))
        return answer_status(x, 400);
    x->route = find_route(&x->server->opt, x->req.method, x->req.path, allow);
    if (!x->route)
        return refuse_method(x, allow);
    if (!x->route->quick)
        return start_handler(x, LOOKING);
    if (x->body_bytes > 0)
        return answer_status(x, 400);
    x->stage = READING; /* after an answer at this point the daemon would close the connection */
    return MHD_YES;
}

static struct connection *client_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static struct exchange *exchange_new(struct http_server *s, struct MHD_Connection *connection)
{
    struct exchange *x = calloc(1, sizeof *x);

    if (!x)
        return NULL;
    x->server = s;
    x->connection = connection;
    x->client = client_of(connection);
    if (!x->client || arena_init(&x->arena, s->opt.arena_bytes, NULL)) {
        free(x);
        return NULL;
    }
    return x;
}

static void exchange_free(struct exchange *x)
{
    if (x->busy)
        set_busy(x, false);
    arena_done(&x->arena);
    free(x);
}

/* ---- the body of a request ---- */

static bool make_room(struct exchange *x)
{
    size_t most = x->server->opt.max_body_bytes;

    x->body_size = x->body_bytes < most ? (size_t)x->body_bytes : most;
    return arena_alloc(&x->arena, x->body_size + 1, 1, &x->body, NULL) == ERR_OK;
}

/* Stores a piece of the body. false: the body is too long, and the connection must be closed. */
static bool take_piece(struct exchange *x, const char *piece, size_t n)
{
    if (x->received == 0 && !make_room(x))
        return false;
    if (n > x->body_size - (size_t)(x->received < x->body_size ? x->received : x->body_size))
        x->req.body_too_large = true;
    else
        memcpy(x->body + x->received, piece, n);
    x->received += n;
    return x->received <= HTTP_SERVER_MAX_DISCARD;
}

static enum MHD_Result on_whole_body(struct exchange *x)
{
    x->body_read = true;
    if (!x->req.body_too_large && x->received > 0)
        x->req.body = (struct span){ x->body, (size_t)x->received };
    else
        x->req.body = SPAN("");
    if (!x->route->quick)
        return start_handler(x, WORKING);
    make_answer(x);
    return answer(x);
}

/* ---- the callbacks of libmicrohttpd ---- */

/* Called after the headers, for each piece of the body, at the body's end, and after every resumption. */
static enum MHD_Result on_access(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *piece, size_t *n, void **state)
{
    struct exchange *x = *state;

    (void)version;
    if (!x) {
        x = exchange_new(ctx, connection);
        *state = x;
        return x ? on_first_call(x, method, url) : MHD_NO;
    }
    switch (x->stage) {
    case LOOKED:
        x->stage = READING;
        connections_set_stage(&x->server->connections, x->client, CONNECTION_BODY);
        set_busy(x, false); /* it is the client's turn to send, which may never happen */
        return MHD_YES;
    case READING:
        if (*n == 0)
            return on_whole_body(x);
        if (!take_piece(x, piece, *n))
            return MHD_NO;
        *n = 0;
        return MHD_YES;
    case ANSWERED:
        return answer(x);
    case LEAVING: /* the rest of a body that was refused */
        *n = 0;
        return MHD_YES;
    case LOOKING:
    case WORKING:
        break;
    }
    return MHD_NO;
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode how)
{
    struct http_server *s = ctx;
    struct connection *client = client_of(connection);

    (void)how;
    if (*state)
        exchange_free(*state);
    *state = NULL;
    if (client)
        connections_set_stage(&s->connections, client, CONNECTION_IDLE);
}

/* Called when a connection begins, and just before its socket is closed. */
static void on_connection(void *ctx, struct MHD_Connection *connection, void **client,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http_server *s = ctx;
    const struct sockaddr *from = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
    int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    struct sockaddr_in address = { 0 };

    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        connections_leave(&s->connections, *client);
        return;
    }
    if (from && from->sa_family == AF_INET)
        memcpy(&address, from, sizeof address);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ SEND_BUFFER_BYTES }, sizeof(int));
    *client = connections_enter(&s->connections, fd, address.sin_addr.s_addr);
}

/*
 * Called with the target of a request before libmicrohttpd looks into it. It would keep a record of each name in the
 * query and in the first header Cookie, for which the connection has no memory: 3000 names in 6 KB end it without an
 * answer. No route has a query, so it is cut off where it lies, in the connection's own buffer; and a cookie without
 * names comes before the client's.
 */
static void *keep_no_names(void *ctx, const char *target, struct MHD_Connection *connection)
{
    char *mark = strchr((char *)(uintptr_t)target, '?');

    (void)ctx;
    if (mark && mark[1])
        mark[1] = 0;
    (void)MHD_set_connection_value(connection, MHD_HEADER_KIND, "Cookie", no_cookie);
    return NULL; /* the first *state of the request */
}

/* Paths are compared as sent, since no route needs an escape. */
static size_t keep_escapes(void *ctx, struct MHD_Connection *connection, char *text)
{
    (void)ctx, (void)connection;
    return strlen(text);
}

static bool start_daemon(struct http_server *s)
{
    const struct http_server_options *o = &s->opt;
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)o->port),
        .sin_addr.s_addr = htonl(o->loopback_only ? INADDR_LOOPBACK : INADDR_ANY),
    };

    struct MHD_OptionItem options[] = {
        { MHD_OPTION_SOCK_ADDR, 0, &addr },
        { MHD_OPTION_CONNECTION_LIMIT, s->connections.limits.places, NULL },
        { MHD_OPTION_CONNECTION_TIMEOUT, o->idle_timeout_s, NULL },
        { MHD_OPTION_CONNECTION_MEMORY_LIMIT, HTTP_SERVER_CONNECTION_BYTES, NULL },
        { MHD_OPTION_CONNECTION_MEMORY_INCREMENT, READ_INCREMENT_BYTES, NULL },
        { MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, s },
        { MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, s },
        { MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)keep_no_names, NULL },
        { MHD_OPTION_UNESCAPE_CALLBACK, (intptr_t)keep_escapes, NULL },
        { MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL },
        { MHD_OPTION_END, 0, NULL },
    };

    /* with poll() libmicrohttpd scans every unfinished head again in each round, whoever has sent something */
    s->daemon =
        MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC, (uint16_t)o->port,
                         NULL, NULL, on_access, s, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    return s->daemon;
}

static int at_most(int n, int bound)
{
    return n < bound ? n : bound;
}

/*
 * How many connections there may be. Each is an open file: without files, neither a newcomer gets in nor a handler gets
 * out. So the process asks for as many as it needs (the limit is often 1024, for programs that use select()), and where
 * it does not get them, half of them are for connections.
 */
static int places_that_fit(const struct http_server_options *o)
{
    int want = o->max_connections + CONNECTIONS_RESERVE, all = want + o->other_files + LINGER_MAX_SOCKETS;
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur >= (rlim_t)all)
        return want;
    files.rlim_cur = (rlim_t)all < files.rlim_max ? (rlim_t)all : files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur == (rlim_t)all)
        return want;
    return at_most(want, files.rlim_cur / 2 > BESIDE_HANDLERS ? (int)files.rlim_cur / 2 : BESIDE_HANDLERS + 1);
}

/* Bounds connections and handlers by the places, which are returned. */
static int fit_to_files(struct http_server_options *o)
{
    int places = places_that_fit(o);

    o->max_connections = at_most(o->max_connections, places - BESIDE_HANDLERS / 2);
    o->max_handlers = at_most(o->max_handlers, places - BESIDE_HANDLERS);
    return places;
}

static enum err_code start_connections(struct http_server *s, struct err *err)
{
    int places = fit_to_files(&s->opt);
    const struct http_server_options *o = &s->opt;
    int64_t head_ms = o->head_ms ? o->head_ms : HTTP_SERVER_HEAD_MS;
    const struct connections_limits limits = {
        .most = o->max_connections,
        .most_of_one = o->max_handlers + (o->max_connections - o->max_handlers) * 3 / 4,
        .ms = { [CONNECTION_NEW] = head_ms,
                [CONNECTION_IDLE] = (int64_t)o->idle_timeout_s * 1000 + head_ms,
                [CONNECTION_BODY] = o->body_ms ? o->body_ms : HTTP_SERVER_BODY_MS,
                [CONNECTION_ANSWER] = o->answer_ms ? o->answer_ms : HTTP_SERVER_ANSWER_MS },
        .places = places,
    };

    return connections_start(&s->connections, &limits, o->sys, err);
}

static void server_free(struct http_server *s)
{
    linger_done(&s->linger);
    connections_stop(&s->connections);
    (void)pthread_cond_destroy(&s->quieter);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

enum err_code http_server_start(const struct http_server_options *options, struct http_server **ret, struct err *err)
{
    struct http_server *s = calloc(1, sizeof *s);
    enum err_code rc = ERR_OK;

    if (!s)
        return err_set(err, ERR_NOMEM, "http server: no memory");
    s->opt = *options;
    rc = start_connections(s, err);
    if (rc) {
        free(s);
        return rc;
    }
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)wait_cond_init(&s->quieter);
    linger_init(&s->linger);
    errno = 0;
    if (!start_daemon(s)) {
        rc = err_set(err, ERR_UNAVAILABLE,
                     "http server: cannot listen on port %d: %s: end what listens there, or set PORT to another one "
                     "from 1 to 65535",
                     options->port, errno ? strerror(errno) : "unknown reason");
        server_free(s);
        return rc;
    }
    *ret = s;
    return ERR_OK;
}

int http_server_port(const struct http_server *s)
{
    return MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
}

void http_server_drain(struct http_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->draining = true;
    (void)pthread_mutex_unlock(&s->lock);
}

/* false: time is up, and a handler still runs or an answer is still being sent. */
static bool wait_until_quiet(struct http_server *s, int64_t wait_ms)
{
    struct timespec end = wait_deadline(wait_ms);
    bool quiet, in_time = true;

    (void)pthread_mutex_lock(&s->lock);
    s->draining = s->stopping = true;
    while ((s->busy > 0 || s->threads > 0) && in_time)
        in_time = wait_until(&s->quieter, &s->lock, &end);
    quiet = s->busy == 0 && s->threads == 0;
    (void)pthread_mutex_unlock(&s->lock);
    return quiet;
}

bool http_server_stop(struct http_server *s, int64_t wait_ms)
{
    MHD_socket listening;

    if (!s)
        return true;
    listening = MHD_quiesce_daemon(s->daemon);
    if (listening != MHD_INVALID_SOCKET)
        (void)close(listening);
    if (!wait_until_quiet(s, wait_ms))
        return false; /* the daemon must not be stopped while connections are suspended */
    MHD_stop_daemon(s->daemon);
    server_free(s);
    return true;
}

/* ---- headers ---- */

int http_server_values(const struct http_server_request *r, const char *name, struct span *ret, int max)
{
    int n = 0;

    for (int i = 0; i < r->n_headers; i++) {
        if (strcasecmp(r->headers[i].name, name) != 0)
            continue;
        if (n < max)
            ret[n] = span_of(r->headers[i].value);
        n++;
    }
    return n;
}
