#include "worker/cli/commands.h"

#include <stdio.h>
#include <string.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/outputs.h"

static struct outputs_text said;

/* Runs the program with one argument; what it prints is in `said`. */
static int run(const char *argument)
{
    return outputs_of(commands_run, (const char *const[]){ "inpaint-worker", argument, NULL }, &said);
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
    CHECK_STR(said.out, "");
    CHECK(strstr(said.errors, "inpaint-worker: there is no command 'paint'\n") == said.errors);
    check_list(said.errors);
    CHECK_INT(run("--paint"), 2);
}

TEST(commands__help_lists_the_commands)
{
    CHECK_INT(run("--help"), 0);
    CHECK_STR(said.errors, "");
    check_list(said.out);
}

TEST(commands__version_names_commit_and_backends)
{
    char version[32], commit[64], backends[64], end;

    CHECK_INT(run("--version"), 0);
    CHECK_INT(sscanf(said.out, "inpaint-worker %31[0-9.-], commit %63[0-9a-z-], backends: %63[^\n]%c", version, commit, backends, &end), 4);
    CHECK(strstr(backends, "cpu (") == backends && strstr(backends, ", plain"));
}
