/* What needs no server; the rest is in test/integration/local_path.py. */
#include <stdio.h>
#include <string.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/outputs.h"
#include "worker/cli/commands.h"

static char printed[4096];

static int push(const char *file, const char *option, const char *value, const char *more)
{
    char *argv[] = { "push", (char *)file, (char *)option, (char *)value, (char *)more, NULL };
    const char *path = temp_path("push.txt");
    const struct outputs before = outputs_redirect(path);
    int argc = 0, status;
    FILE *f;

    outputs_errors_to(path); /* only one of the two is written to */
    while (argv[argc])
        argc++;
    status = cmd_push(argc, argv);
    outputs_restore(&before);
    f = fopen(path, "r");
    CHECK(f);
    printed[fread(printed, 1, sizeof printed - 1, f)] = 0;
    (void)fclose(f);
    return status;
}

static const char *message_file(const char *text)
{
    const char *path = temp_path("message.json");
    FILE *f = fopen(path, "w");

    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
    return path;
}

TEST(cmd_push__sends_nothing_in_the_clear_but_on_this_machine)
{
    static const char *const bad[] = { "http://worker.example/", "http://127.0.0.1.evil.example/", "ftp://127.0.0.1/", "worker",
                                       "https://", "https://user@worker.example/", "http://[::2]:80/", "http://127.0.0.1:1/\n",
                                       "http://127.0.0.1@evil.example/" };
    const char *file = message_file("{\"userId\":\"u\",\"sessionId\":\"s\"}");

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (push(file, "--url", bad[i], NULL) != 1 || !strstr(printed, "--url"))
            test_fail(__FILE__, __LINE__, "'%s': %s", bad[i], printed);
    }
}

TEST(cmd_push__says_what_is_missing)
{
    CHECK_INT(push(NULL, NULL, NULL, NULL), 2);
    CHECK_INT(push("x", NULL, NULL, NULL), 2);
    CHECK_INT(push("/nowhere", "--url", "http://127.0.0.1:1/", NULL), 1);
    CHECK(strstr(printed, "/nowhere"));
    CHECK_INT(push(message_file("{}"), "--url", "http://127.0.0.1:1/", NULL), 1);
    CHECK(strstr(printed, "it is neither a message nor a payload with userId and sessionId"));
    CHECK_INT(push(message_file("{\"userId\":\"u\"}"), "--url", "http://127.0.0.1:1/", NULL), 1);
    CHECK(strstr(printed, "no answer"));
    CHECK_INT(push("--help", NULL, NULL, NULL), 0);
    CHECK(strstr(printed, "--token-file FILE"));
}
