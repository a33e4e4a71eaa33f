/* What needs no server; the rest is in test/remote/remote_commands.py. */
#include <string.h>

#include "test/support/check.h"
#include "test/support/outputs.h"
#include "worker/cli/commands.h"

#define TOPIC "--topic", "projects/p/topics/session-processing"

static struct outputs_text said;

TEST(cmd_publish__refuses_what_does_not_go_together)
{
    static const char *const cases[][8] = {
        { "publish", "--user", "u", "--session", "s" },
        { "publish", TOPIC },
        { "publish", TOPIC, "--user", "u" },
        { "publish", TOPIC, "--session", "s" },
        { "publish", TOPIC, "--file", "x", "--from", "0" },
        { "publish", TOPIC, "--check", "--from", "2" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_INT(outputs_of(cmd_publish, cases[i], &said), 2);
    CHECK_INT(outputs_of(cmd_publish, (const char *const[]){ "publish", TOPIC, "--file", "/nowhere", NULL }, &said), 1);
    CHECK(strstr(said.errors, "/nowhere"));
    CHECK_INT(outputs_of(cmd_publish, (const char *const[]){ "publish", TOPIC, "--user", "u", "--session", "__s__", NULL }, &said), 1);
    CHECK(strstr(said.errors, "sessionId is not an id"));
    CHECK_INT(outputs_of(cmd_publish, (const char *const[]){ "publish", "--help", NULL }, &said), 0);
    CHECK(strstr(said.out, "PUBSUB_EMULATOR_HOST"));
}

TEST(cmd_conform__refuses_what_does_not_go_together)
{
    static const char *const wrong[][8] = {
        { "conform" },
        { "conform", "http://127.0.0.1:9", "--poison" },
        { "conform", "http://127.0.0.1:9", "--user", "u", "--session", "s" },
        { "conform", "http://127.0.0.1:9", "--token-file", "x", "--user", "u" },
        { "conform", "http://127.0.0.1:9", "--timeout", "0" },
    };
    static const char *const bad[][8] = {
        { "conform", "http://worker.example" },
        { "conform", "https://worker.example/push" },
        { "conform", "https://worker.example/?a=b" },
        { "conform", "https://127.0.0.1:9?/" },
        { "conform", "https://127.0.0.1:9#/inpaint" },
        { "conform", "https://worker.example", "--header", "cookie: a" },
        { "conform", "https://worker.example", "--header", "X-Serverless-Authorization: Bearer a" },
        { "conform", "https://worker.example", "--token-file", "/nowhere" },
        { "conform", "https://worker.example", "--json", "/nowhere/report.json" },
    };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_INT(outputs_of(cmd_conform, wrong[i], &said), 2);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_INT(outputs_of(cmd_conform, bad[i], &said), 1);
        CHECK_STR(said.out, "");
    }
    CHECK_INT(outputs_of(cmd_conform, (const char *const[]){ "conform", "--help", NULL }, &said), 0);
    CHECK(strstr(said.out, "--token-file FILE"));
}
