#include "test/support/fake/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "test/support/check.h"

enum { HEAD_MAX_BYTES = 65536, BODY_MAX_BYTES = 64 << 20, PIECE_BYTES = 1000 };

struct connection {
    struct peer *peer;
    pthread_t thread;
    int fd, number;
};

struct peer {
    pthread_mutex_t lock;
    pthread_t acceptor;
    int fd, port;
    bool closing;
    char url[64];
    struct connection connections[PEER_MAX_CONNECTIONS];
    int n_connections;
    struct peer_request requests[PEER_MAX_REQUESTS];
    int n_requests;
    struct peer_reply replies[PEER_MAX_REPLIES];
    int n_replies, next_reply;
    struct peer_reply (*handler)(void *ctx, const struct peer_request *req);
    void *handler_ctx;
};

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    abort();
}

static void pause_ms(int ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

    if (ms > 0)
        (void)nanosleep(&t, NULL);
}

/* ---- reading a request ---- */

/* A buffered socket: bytes behind one request belong to the next. */
struct stream {
    int fd;
    size_t at, len;
    char buf[16384];
};

static int get_byte(struct stream *s)
{
    if (s->at == s->len) {
        ssize_t n = recv(s->fd, s->buf, sizeof s->buf, 0);

        if (n <= 0)
            return -1;
        s->at = 0;
        s->len = (size_t)n;
    }
    return (unsigned char)s->buf[s->at++];
}

/* Reads up to and including the end mark. NULL: the connection ended, or it goes on too long. */
static char *read_until(struct stream *s, const char *mark)
{
    size_t n = 0, size = 1024, m = strlen(mark);
    char *text = malloc(size);
    int c;

    must(text, "malloc");
    while ((c = get_byte(s)) >= 0 && n < HEAD_MAX_BYTES) {
        if (n + 2 > size) {
            text = realloc(text, size *= 2);
            must(text, "realloc");
        }
        text[n++] = (char)c;
        text[n] = 0;
        if (n >= m && memcmp(text + n - m, mark, m) == 0)
            return text;
    }
    free(text);
    return NULL;
}

static bool read_exactly(struct stream *s, char *to, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int c = get_byte(s);

        if (c < 0)
            return false;
        to[i] = (char)c;
    }
    return true;
}

static bool read_chunks(struct stream *s, char **body, size_t *len)
{
    for (;;) {
        char *line = read_until(s, "\r\n"), crlf[2];
        size_t n = line ? strtoul(line, NULL, 16) : BODY_MAX_BYTES;

        free(line);
        if (n > BODY_MAX_BYTES - *len - 1)
            return false;
        *body = realloc(*body, *len + n + 1);
        must(*body, "realloc");
        if (!read_exactly(s, *body + *len, n) || !read_exactly(s, crlf, 2))
            return false;
        *len += n;
        (*body)[*len] = 0;
        if (n == 0)
            return true;
    }
}

static bool read_body(struct stream *s, struct peer_request *r)
{
    char value[64], *body = calloc(1, 1);
    size_t len = 0;
    bool whole = true;

    must(body, "calloc");
    if (peer_header(r, "Transfer-Encoding", value, sizeof value)) {
        whole = read_chunks(s, &body, &len);
    } else if (peer_header(r, "Content-Length", value, sizeof value)) {
        len = strtoul(value, NULL, 10);
        whole = len < BODY_MAX_BYTES;
        if (whole) {
            body = realloc(body, len + 1);
            must(body, "realloc");
            body[len] = 0;
            whole = read_exactly(s, body, len);
        }
    }
    r->body = (struct span){ body, len };
    return whole;
}

static bool read_request(struct stream *s, struct peer_request *r)
{
    char *head = read_until(s, "\r\n\r\n"), *method, *target;

    if (!head)
        return false;
    r->head = head;
    if (sscanf(head, "%ms %ms", &method, &target) != 2)
        return false;
    r->method = method;
    r->target = target;
    return read_body(s, r);
}

static void free_request(struct peer_request *r)
{
    free((void *)r->method);
    free((void *)r->target);
    free((void *)r->head);
    free((void *)r->body.ptr);
}

const char *peer_header(const struct peer_request *r, const char *name, char *buf, size_t size)
{
    size_t n = strlen(name);

    for (const char *line = strstr(r->head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, n) == 0 && line[2 + n] == ':') {
            const char *value = line + 3 + n + strspn(line + 3 + n, " ");

            (void)snprintf(buf, size, "%.*s", (int)strcspn(value, "\r"), value);
            return buf;
        }
    }
    return NULL;
}

/* ---- answering ---- */

struct text {
    char *ptr;
    size_t len;
};

static void append(struct text *t, const char *bytes, size_t n)
{
    t->ptr = realloc(t->ptr, t->len + n + 1);
    must(t->ptr, "realloc");
    if (n)
        memcpy(t->ptr + t->len, bytes, n);
    t->len += n;
}

static void append_body(struct text *t, const struct peer_reply *r)
{
    char line[32];

    if (!r->chunked) {
        append(t, r->body.ptr, r->body.len);
        return;
    }
    for (size_t at = 0; at < r->body.len; at += PIECE_BYTES) {
        size_t n = r->body.len - at < PIECE_BYTES ? r->body.len - at : PIECE_BYTES;

        append(t, line, (size_t)snprintf(line, sizeof line, "%zx\r\n", n));
        append(t, r->body.ptr + at, n);
        append(t, "\r\n", 2);
    }
    append(t, "0\r\n\r\n", 5);
}

static struct text compose(const struct peer_reply *r)
{
    struct text t = { 0 };
    char line[64];

    if (r->raw) {
        append(&t, r->raw, strlen(r->raw));
        return t;
    }
    if (!r->status)
        return t;
    append(&t, line, (size_t)snprintf(line, sizeof line, "HTTP/1.1 %d Scripted\r\n", r->status));
    if (r->headers)
        append(&t, r->headers, strlen(r->headers));
    if (r->chunked)
        append(&t, "Transfer-Encoding: chunked\r\n", 28);
    else if (!r->no_length && r->status != 204)
        append(&t, line, (size_t)snprintf(line, sizeof line, "Content-Length: %zu\r\n", r->body.len));
    append(&t, "\r\n", 2);
    append_body(&t, r);
    return t;
}

static bool send_all(int fd, const char *bytes, size_t n, int pace_ms)
{
    while (n > 0) {
        size_t piece = pace_ms && n > PIECE_BYTES ? PIECE_BYTES : n;
        ssize_t done = send(fd, bytes, piece, MSG_NOSIGNAL);

        if (done <= 0)
            return false;
        bytes += done;
        n -= (size_t)done;
        if (n > 0)
            pause_ms(pace_ms);
    }
    return true;
}

/* false: this connection is over */
static bool answer(int fd, const struct peer_reply *r, struct text t)
{
    bool cut = r->cut_after > 0 && r->cut_after < t.len, goes_on;

    pause_ms(r->delay_ms);
    if (cut)
        t.len = r->cut_after;
    goes_on = send_all(fd, t.ptr, t.len, r->pace_ms) && !cut && !r->raw && !r->no_length && !r->close && r->status;
    if (!goes_on && r->reset) {
        struct linger at_once = { 1, 0 };

        pause_ms(cut ? 20 : 0); /* the reset must not overtake what was sent */
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    return goes_on;
}

/* Files the request, decides its reply and puts that into bytes while the handler's memory still holds it. */
static struct peer_reply take(struct peer *p, const struct peer_request *r, struct text *bytes)
{
    struct peer_reply reply = { .status = 599, .body = SPAN("nothing was scripted for this request") };

    (void)pthread_mutex_lock(&p->lock);
    must(p->n_requests < PEER_MAX_REQUESTS, "peer: too many requests");
    p->requests[p->n_requests++] = *r;
    if (p->next_reply < p->n_replies)
        reply = p->replies[p->next_reply++];
    else if (p->handler)
        reply = p->handler(p->handler_ctx, r);
    *bytes = compose(&reply);
    (void)pthread_mutex_unlock(&p->lock);
    return reply;
}

static void *serve_connection(void *arg)
{
    struct connection *c = arg;
    struct stream s = { .fd = c->fd };

    for (;;) {
        struct peer_request r = { .connection = c->number };
        struct peer_reply reply;
        struct text bytes;
        bool goes_on;

        if (!read_request(&s, &r)) {
            free_request(&r);
            break;
        }
        reply = take(c->peer, &r, &bytes);
        goes_on = answer(c->fd, &reply, bytes);
        free(bytes.ptr);
        if (!goes_on)
            break;
    }
    /* under the lock, because peer_close shuts down descriptors that are still in the list */
    (void)pthread_mutex_lock(&c->peer->lock);
    (void)close(c->fd);
    c->fd = -1;
    (void)pthread_mutex_unlock(&c->peer->lock);
    return NULL;
}

static void *accept_connections(void *arg)
{
    struct peer *p = arg;

    for (;;) {
        int fd = accept(p->fd, NULL, NULL);
        struct connection *c;

        if (fd < 0)
            return NULL;
        (void)pthread_mutex_lock(&p->lock);
        if (p->closing || p->n_connections == PEER_MAX_CONNECTIONS) {
            (void)close(fd);
        } else {
            c = &p->connections[p->n_connections];
            *c = (struct connection){ .peer = p, .fd = fd, .number = p->n_connections };
            must(pthread_create(&c->thread, NULL, serve_connection, c) == 0, "pthread_create");
            p->n_connections++;
        }
        (void)pthread_mutex_unlock(&p->lock);
    }
}

struct peer *peer_open(void)
{
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof addr;
    struct peer *p = calloc(1, sizeof *p);

    must(p, "calloc");
    (void)pthread_mutex_init(&p->lock, NULL);
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(p->fd >= 0 && bind(p->fd, (struct sockaddr *)&addr, sizeof addr) == 0 && listen(p->fd, 64) == 0, "listen");
    must(getsockname(p->fd, (struct sockaddr *)&addr, &size) == 0, "getsockname");
    p->port = ntohs(addr.sin_port);
    (void)snprintf(p->url, sizeof p->url, "http://127.0.0.1:%d", p->port);
    must(pthread_create(&p->acceptor, NULL, accept_connections, p) == 0, "pthread_create");
    return p;
}

void peer_close(struct peer *p)
{
    if (!p)
        return;
    (void)pthread_mutex_lock(&p->lock);
    p->closing = true;
    for (int i = 0; i < p->n_connections; i++)
        if (p->connections[i].fd >= 0)
            (void)shutdown(p->connections[i].fd, SHUT_RDWR);
    (void)pthread_mutex_unlock(&p->lock);
    (void)shutdown(p->fd, SHUT_RDWR);
    (void)pthread_join(p->acceptor, NULL);
    for (int i = 0; i < p->n_connections; i++)
        (void)pthread_join(p->connections[i].thread, NULL);
    (void)close(p->fd);
    for (int i = 0; i < p->n_requests; i++)
        free_request(&p->requests[i]);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

const char *peer_url(const struct peer *p)
{
    return p->url;
}

int peer_port(const struct peer *p)
{
    return p->port;
}

void peer_will(struct peer *p, struct peer_reply reply)
{
    (void)pthread_mutex_lock(&p->lock);
    must(p->n_replies < PEER_MAX_REPLIES, "peer: too many replies");
    p->replies[p->n_replies++] = reply;
    (void)pthread_mutex_unlock(&p->lock);
}

void peer_handle(struct peer *p, struct peer_reply (*fn)(void *ctx, const struct peer_request *req), void *ctx)
{
    (void)pthread_mutex_lock(&p->lock);
    p->handler = fn;
    p->handler_ctx = ctx;
    (void)pthread_mutex_unlock(&p->lock);
}

int peer_count(struct peer *p)
{
    int n;

    (void)pthread_mutex_lock(&p->lock);
    n = p->n_requests;
    (void)pthread_mutex_unlock(&p->lock);
    return n;
}

const struct peer_request *peer_request(struct peer *p, int i)
{
    CHECK(i >= 0 && i < peer_count(p));
    return &p->requests[i];
}
