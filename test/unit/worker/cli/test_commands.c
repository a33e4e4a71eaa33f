#include "worker/cli/commands.h"

#include <stdio.h>
#include <string.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/outputs.h"

static char out[8192], errors[8192];

static void read_text(const char *path, char ret[8192])
{
    FILE *f = fopen(path, "r");

    CHECK(f);
    ret[fread(ret, 1, 8191, f)] = '\0';
    (void)fclose(f);
}

/* Runs the program with one argument; what it prints is in `out` and `errors`. */
static int run(const char *argument)
{
    const char *out_path = temp_path("out.txt"), *errors_path = temp_path("errors.txt");
    const struct outputs before = outputs_redirect(out_path);
    int status;

    outputs_errors_to(errors_path);
    status = commands_run(2, (char *[]){ "inpaint-worker", (char *)(uintptr_t)argument, NULL });
    outputs_restore(&before);
    read_text(out_path, out);
    read_text(errors_path, errors);
    return status;
}

static void check_list(const char *text)
{
#define X(name, summary) CHECK(strstr(text, "\n  " #name " ") && strstr(text, summary "\n"));
    COMMAND_MAP(X)
#undef X
}

TEST(commands__a_wrong_command_lists_those_there_are)
{
    CHECK_INT(run("paint"), 2);
    CHECK_STR(out, "");
    CHECK(strstr(errors, "inpaint-worker: there is no command 'paint'\n") == errors);
    check_list(errors);
    CHECK_INT(run("--paint"), 2);
}

TEST(commands__help_lists_the_commands)
{
    CHECK_INT(run("--help"), 0);
    CHECK_STR(errors, "");
    check_list(out);
}

TEST(commands__version_names_commit_and_backends)
{
    char version[32], commit[64], backends[64], end;

    CHECK_INT(run("--version"), 0);
    CHECK_INT(sscanf(out, "inpaint-worker %31[0-9.], commit %63[0-9a-z-], backends: %63[^\n]%c", version, commit, backends, &end), 4);
    CHECK(strstr(backends, "cpu (") == backends && strstr(backends, ", plain"));
}
