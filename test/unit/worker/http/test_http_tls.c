/* Certificates and proxies: an authority of the test's own, real host names, mapped to loopback by a proxy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test/support/check.h"
#include "test/support/fake/peer.h"
#include "test/support/fake/tls_peer.h"
#include "worker/http/http_client.h"

#define HOST "storage.googleapis.com"

static struct {
    struct tls_peer *peer;
    struct http *http;
    struct arena arena;
    struct err err;
    struct http_reply reply;
} t;

static const char *const variables[] = { "SSL_CERT_FILE", "SSL_CERT_DIR", "https_proxy", "HTTPS_PROXY", "http_proxy",
                                         "HTTP_PROXY",    "all_proxy",    "ALL_PROXY",   "no_proxy",    "NO_PROXY" };

static void stop(void)
{
    tls_peer_close(t.peer);
    http_client_close(t.http);
    arena_done(&t.arena);
    memset(&t, 0, sizeof t);
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        (void)unsetenv(variables[i]);
}

static void start(const struct tls_peer_options *o)
{
    stop();
    CHECK_OK(arena_init(&t.arena, 8 << 20, &t.err), t.err);
    t.peer = tls_peer_open(o);
    (void)setenv("SSL_CERT_FILE", tls_peer_authority(t.peer), 1);
    (void)setenv("HTTPS_PROXY", tls_peer_proxy(t.peer), 1);
}

static enum err_code send_to(const char *method, const char *url)
{
    struct http_request req = { .method = method, .url = url, .timeout_ms = 10000, .max_reply_bytes = 1 << 16 };

    http_client_close(t.http);
    t.http = NULL;
    t.err = (struct err){ 0 };
    CHECK_OK(http_client_open(&t.http, &t.err), t.err);
    http_request_header(&req, "Authorization", "Bearer token-of-a-test");
    if (strcmp(method, "GET") != 0)
        req.body = SPAN("x");
    return http_send(t.http, &req, &t.arena, &t.reply, &t.err);
}

static enum err_code get(const char *url)
{
    return send_to("GET", url);
}

static const struct tls_peer_options good = { .host = HOST, .days = 1 };

TEST(http_tls__the_right_name_under_an_authority_of_ours_is_good)
{
    start(&good);
    CHECK_OK(get("https://" HOST "/storage/v1/b"), t.err);
    CHECK_INT(t.reply.status, 200);
    CHECK(span_is(t.reply.body, "ok"));
    CHECK(!http_reply_header(&t.reply, "x-proxy")); /* the proxy's answer is not the server's */
    CHECK(span_starts(span_of(tls_peer_connects(t.peer)), "CONNECT " HOST ":443 HTTP/1.1\r\n"));
    CHECK(!strstr(tls_peer_connects(t.peer), "token-of-a-test"));
    CHECK(strstr(tls_peer_request(t.peer), "GET /storage/v1/b HTTP/1.1\r\n"));
    CHECK(strstr(tls_peer_request(t.peer), "Authorization: Bearer token-of-a-test\r\n"));
    stop();
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

TEST(http_tls__the_authority_may_come_from_a_folder)
{
    start(&good);
    (void)unsetenv("SSL_CERT_FILE");
    CHECK_INT(get("https://" HOST "/"), ERR_UNAVAILABLE);
    (void)setenv("SSL_CERT_DIR", tls_peer_folder(t.peer), 1);
    CHECK_OK(get("https://" HOST "/"), t.err);
    (void)setenv("SSL_CERT_FILE", "", 1); /* empty: not set */
    CHECK_OK(get("https://" HOST "/"), t.err);
    {
        char other[] = "/tmp/http-tls-XXXXXX", hashed[64], list[256];
        const char *const before[] = { "/nonexistent", other };

        CHECK(mkdtemp(other));
        (void)snprintf(hashed, sizeof hashed, "%s/0a1b2c3d.0", other);
        write_file(hashed, "");
        for (size_t i = 0; i < 2; i++) {
            (void)snprintf(list, sizeof list, "%s:%s", before[i], tls_peer_folder(t.peer));
            (void)setenv("SSL_CERT_DIR", list, 1);
            CHECK_OK(get("https://" HOST "/"), t.err);
        }
        (void)unlink(hashed);
        (void)rmdir(other);
    }
    stop();
}

TEST(http_tls__what_cannot_be_trusted_gets_no_byte_of_the_request)
{
    static const struct {
        struct tls_peer_options peer;
        const char *word;
        bool foreign;
    } cases[] = {
        { { .host = "evil.example", .days = 1 }, "matches target host", false },
        { { .host = "googleapis.com", .days = 1 }, "matches target host", false },
        { { .host = "*.com", .days = 1 }, "matches target host", false },
        { { .host = HOST, .days = -1 }, "expired", false },
        { { .host = HOST, .from_days = 5, .days = 1 }, "not yet valid", false },
        { { .host = HOST, .days = 1 }, "SSL_CERT_FILE", true },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int post = 0; post < 2; post++) {
            start(&cases[i].peer);
            if (cases[i].foreign)
                (void)unsetenv("SSL_CERT_FILE");
            CHECK_INT(send_to(post ? "POST" : "GET", "https://" HOST "/"), ERR_UNAVAILABLE);
            if (!strstr(t.err.msg, cases[i].word))
                test_fail(__FILE__, __LINE__, "case %zu: %s", i, t.err.msg);
            CHECK(strstr(t.err.msg, HOST) && !strstr(t.err.msg, "token-of-a-test"));
            CHECK_STR(tls_peer_request(t.peer), "");
        }
    stop();
}

TEST(http_tls__a_bad_list_of_authorities_is_named)
{
    char empty[128], words[128], damaged[128], pipe[128];
    struct http *h = NULL;

    start(&good);
    (void)snprintf(empty, sizeof empty, "%s.empty", tls_peer_folder(t.peer));
    (void)snprintf(words, sizeof words, "%s.words", tls_peer_folder(t.peer));
    (void)snprintf(damaged, sizeof damaged, "%s.damaged", tls_peer_folder(t.peer));
    (void)snprintf(pipe, sizeof pipe, "%s.pipe", tls_peer_folder(t.peer));
    CHECK_INT(mkfifo(pipe, 0600), 0); /* nobody ever writes into it */
    write_file(empty, "");
    write_file(words, "this is no certificate\n");
    write_file(damaged, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    {
        const char *const bad[] = { "/nonexistent/ca.pem", "/", "/dev/zero", empty, words, pipe };

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            (void)setenv("SSL_CERT_FILE", bad[i], 1);
            t.err = (struct err){ 0 };
            CHECK_INT(http_client_open(&h, &t.err), ERR_INVALID);
            CHECK(strstr(t.err.msg, "SSL_CERT_FILE") && strstr(t.err.msg, bad[i]));
        }
    }
    (void)setenv("SSL_CERT_FILE", damaged, 1);
    CHECK_INT(get("https://" HOST "/"), ERR_UNAVAILABLE);
    CHECK(strstr(t.err.msg, "SSL_CERT_FILE") && strstr(t.err.msg, damaged));
    (void)unsetenv("SSL_CERT_FILE");
    {
        const char *const bad[] = { "/nonexistent", empty, "/nonexistent:/proc" };

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            (void)setenv("SSL_CERT_DIR", bad[i], 1);
            t.err = (struct err){ 0 };
            CHECK_INT(http_client_open(&h, &t.err), ERR_INVALID);
            CHECK(strstr(t.err.msg, "SSL_CERT_DIR") && strstr(t.err.msg, bad[i]));
        }
    }
    (void)unlink(empty);
    (void)unlink(words);
    (void)unlink(damaged);
    (void)unlink(pipe);
    stop();
}

/* ---- proxies ---- */

TEST(http_tls__a_proxy_of_https_is_judged_by_the_same_authorities)
{
    char proxy[64];

    for (int folder = 0; folder < 2; folder++) {
        start(&(struct tls_peer_options){ .host = "localhost", .days = 1 });
        (void)snprintf(proxy, sizeof proxy, "https://localhost:%d", tls_peer_port(t.peer));
        (void)setenv("HTTPS_PROXY", proxy, 1);
        if (folder) {
            (void)unsetenv("SSL_CERT_FILE");
            CHECK_INT(get("https://" HOST "/"), ERR_UNAVAILABLE);
            CHECK_STR(tls_peer_request(t.peer), "");
            (void)setenv("SSL_CERT_DIR", tls_peer_folder(t.peer), 1);
        }
        CHECK_INT(get("https://" HOST "/"), ERR_UNAVAILABLE); /* the peer goes no further than CONNECT */
        CHECK(span_starts(span_of(tls_peer_request(t.peer)), "CONNECT " HOST ":443 HTTP/1.1\r\n"));
        CHECK(!strstr(tls_peer_request(t.peer), "token-of-a-test"));
    }
    stop();
}

TEST(http_tls__the_proxy_of_lower_case_comes_first)
{
    start(&good);
    (void)setenv("https_proxy", tls_peer_proxy(t.peer), 1);
    (void)setenv("HTTPS_PROXY", "http://127.0.0.1:1", 1);
    CHECK_OK(get("https://" HOST "/"), t.err);
    (void)unsetenv("https_proxy");
    (void)unsetenv("HTTPS_PROXY");
    (void)setenv("ALL_PROXY", tls_peer_proxy(t.peer) + strlen("http://"), 1); /* host:port alone */
    CHECK_OK(get("https://" HOST "/"), t.err);
    stop();
}

TEST(http_tls__this_machine_and_hosts_of_no_proxy_are_reached_directly)
{
    char url[64];

    start(&(struct tls_peer_options){ .host = "localhost", .days = 1 });
    (void)setenv("HTTPS_PROXY", "http://127.0.0.1:1", 1);
    (void)snprintf(url, sizeof url, "https://localhost:%d/", tls_peer_port(t.peer));
    CHECK_OK(get(url), t.err);
    (void)setenv("HTTPS_PROXY", tls_peer_proxy(t.peer), 1);
    CHECK(get("https://[::1]:1/") != ERR_OK);
    CHECK_STR(tls_peer_connects(t.peer), "");
    start(&(struct tls_peer_options){ .host = "127.0.0.1", .days = 1 });
    (void)setenv("HTTPS_PROXY", "http://127.0.0.1:1", 1);
    (void)setenv("NO_PROXY", "example.com", 1);
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%d/", tls_peer_port(t.peer));
    CHECK_OK(get(url), t.err);
    start(&good);
    {
        static const char *const lists[] = { "*", HOST, "x.example, .googleapis.com", "googleapis.com" };

        for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
            (void)setenv("NO_PROXY", lists[i], 1);
            CHECK(get("https://" HOST ":1/") != ERR_OK); /* whatever that host is here, the proxy does not hear of it */
        }
    }
    (void)setenv("no_proxy", "other.example", 1); /* lower case comes first */
    CHECK_STR(tls_peer_connects(t.peer), "");
    CHECK_OK(get("https://" HOST "/"), t.err);
    stop();
}

TEST(http_tls__plain_requests_never_go_through_a_proxy)
{
    struct peer *plain = peer_open();
    struct http_request req = {
        .method = "GET", .url = peer_url(plain), .timeout_ms = 5000, .max_reply_bytes = 100, .allow_plain = true
    };

    start(&good);
    for (size_t i = 2; i < 8; i++)
        (void)setenv(variables[i], tls_peer_proxy(t.peer), 1);
    peer_will(plain, (struct peer_reply){ .status = 200 });
    CHECK_OK(http_client_open(&t.http, &t.err), t.err);
    CHECK_OK(http_send(t.http, &req, &t.arena, &t.reply, &t.err), t.err);
    /* the metadata server, too: nothing answers there, or something does, but the proxy does not hear of it */
    req.url = "http://metadata.google.internal:1/";
    req.timeout_ms = 300;
    err_ignore(http_send(t.http, &req, &t.arena, &t.reply, NULL));
    CHECK_STR(tls_peer_connects(t.peer), "");
    peer_close(plain);
    stop();
}

TEST(http_tls__a_proxy_that_refuses_is_not_an_unknown_outcome)
{
    static const char *const refusals[] = { "407 Proxy Authentication Required", "403 Forbidden", "502 Bad Gateway" };

    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        start(&(struct tls_peer_options){ .host = HOST, .days = 1, .proxy_status = refusals[i] });
        CHECK_INT(send_to("POST", "https://" HOST "/"), ERR_UNAVAILABLE);
        CHECK(strstr(t.err.msg, "proxy") && memmem(t.err.msg, strlen(t.err.msg), refusals[i], 3));
        CHECK_INT(t.reply.status, 0);
    }
    stop();
}

TEST(http_tls__the_password_of_a_proxy_stays_with_the_proxy)
{
    char proxy[128];

    start(&good);
    (void)snprintf(proxy, sizeof proxy, "http://user:open-sesame@127.0.0.1:%d", tls_peer_port(t.peer));
    (void)setenv("HTTPS_PROXY", proxy, 1);
    CHECK_OK(get("https://" HOST "/"), t.err);
    CHECK(strstr(tls_peer_connects(t.peer), "Proxy-Authorization: Basic "));
    CHECK(!strstr(tls_peer_request(t.peer), "Proxy-"));
    (void)setenv("HTTPS_PROXY", "http://user:open-sesame@127.0.0.1:1", 1);
    CHECK_INT(get("https://" HOST "/"), ERR_UNAVAILABLE);
    CHECK(!strstr(t.err.msg, "sesame") && strstr(t.err.msg, "proxy"));
    (void)setenv("HTTPS_PROXY", "http://user:open-sesame@[]:1", 1); /* what libcurl cannot read it shows */
    CHECK_INT(get("https://" HOST "/"), ERR_UNAVAILABLE);
    CHECK(!strstr(t.err.msg, "sesame") && strstr(t.err.msg, "proxy"));
    stop();
}

TEST(http_tls__a_setting_that_is_no_proxy_stops_the_start_and_is_not_shown)
{
    static const char *const bad[] = { "ftp://x:1",
                                       "http://",
                                       "http://u:open-sesame@",
                                       "http://a b",
                                       "http://x:99999",
                                       "http://u:open-sesame@x:1/path",
                                       "http://u:open@sesame@127.0.0.1:1",
                                       "http://u:open/sesame@127.0.0.1:1",
                                       "u:open?sesame@127.0.0.1:1",
                                       "socks5://u:1#sesame@127.0.0.1:1",
                                       "http://u:sesame%0a@127.0.0.1:1", /* libcurl would go without the proxy */
                                       "x\ty",
                                       "://x" };
    struct http *h = NULL;

    stop();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)setenv("https_proxy", bad[i], 1);
        t.err = (struct err){ 0 };
        CHECK_INT(http_client_open(&h, &t.err), ERR_INVALID);
        CHECK(strstr(t.err.msg, "https_proxy") && !strstr(t.err.msg, "sesame"));
    }
    stop();
}
