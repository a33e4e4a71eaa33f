#include "worker/cli/commands.h"

#include <stdio.h>
#include <string.h>

#include "models/file/file_map.h"
#include "worker/base/log.h"
#include "worker/cli/cli.h"

#define PROGRAM "inpaint-worker"

/* The Makefile says which version and commit the program is built from, where it knows, and which backends it has. */
#ifndef VERSION
#define VERSION "0.0.0"
#endif
#ifndef COMMIT
#define COMMIT "unknown"
#endif
#ifndef BACKENDS
#define BACKENDS "unknown"
#endif

static const struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
#define X(name, summary) { #name, summary, cmd_##name },
    COMMAND_MAP(X)
#undef X
};

enum { N_COMMANDS = sizeof commands / sizeof *commands };

static int usage(FILE *to, int status)
{
    (void)fprintf(to, "usage: " PROGRAM " [COMMAND] [options]\n\ncommands; each has --help:\n");
    for (int i = 0; i < N_COMMANDS; i++)
        (void)fprintf(to, "  %-12s %s\n", commands[i].name, commands[i].summary);
    (void)fprintf(to, "\nThe default command is serve. --version: version, commit and backends of this program.\n");
    return status;
}

/* A command whose model file was lost meanwhile has computed nothing, whatever it has written. */
static int verdict(int status)
{
    struct err err = { 0 };

    if (status != CLI_DONE || file_map_check(&err) == ERR_OK)
        return status;
    (void)fprintf(stderr, PROGRAM ": %s\n", err.msg);
    return CLI_FAILED;
}

int commands_run(int argc, char **argv)
{
    static char *serve[] = { "serve", NULL };
    int rest = argc < 2 ? 1 : argc - 1;
    char **args = argc < 2 ? serve : argv + 1;

    log_service(PROGRAM, VERSION "-" COMMIT);
    if (strcmp(args[0], "--help") == 0 || strcmp(args[0], "-h") == 0 || strcmp(args[0], "help") == 0)
        return usage(stdout, CLI_DONE);
    if (strcmp(args[0], "--version") == 0) {
        (void)printf(PROGRAM " " VERSION ", commit " COMMIT ", backends: " BACKENDS "\n");
        return CLI_DONE;
    }
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(args[0], commands[i].name) == 0)
            return verdict(commands[i].run(rest, args));
    (void)fprintf(stderr, PROGRAM ": there is no command '%.40s'\n", args[0]);
    return usage(stderr, CLI_USAGE);
}
