/* The port that a server listens on; everything else about it is in test_http_server.c. */
#include <string.h>

#include "test/support/check.h"
#include "worker/http/http_server.h"

static void answer(void *ctx, struct http_server_request *req, struct http_server_reply *reply)
{
    (void)ctx, (void)req;
    reply->status = 200;
}

TEST(http_server__a_taken_port_is_an_error)
{
    static const struct http_server_route route = { "GET", "/ready", .quick = true, .on_request = answer };
    struct http_server_options o = { .loopback_only = true,
                                     .routes = &route,
                                     .n_routes = 1,
                                     .max_body_bytes = 1,
                                     .arena_bytes = 1 << 20,
                                     .max_connections = 4,
                                     .max_handlers = 1,
                                     .idle_timeout_s = 1,
                                     .sys = &sys_real };
    struct http_server *first = NULL, *second = NULL;
    struct err err = { 0 };

    CHECK_OK(http_server_start(&o, &first, &err), err);
    o.port = http_server_port(first);
    CHECK_INT(http_server_start(&o, &second, &err), ERR_UNAVAILABLE);
    CHECK(strstr(err.msg, "port"));
    CHECK(http_server_stop(second, 0));
    CHECK(http_server_stop(first, 5000));
}
