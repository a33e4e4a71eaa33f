/* main - finds the command and runs it; the only place that ends the process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/cli/commands.h"

#define PROGRAM "inpaint-worker"
#define VERSION "0.1.0"

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
    (void)fprintf(to, "\nThe default command is serve.\n");
    return status;
}

static int run(int argc, char **argv)
{
    static char *serve[] = { "serve", NULL };
    int rest = argc < 2 ? 1 : argc - 1;
    char **args = argc < 2 ? serve : argv + 1;

    if (strcmp(args[0], "--help") == 0 || strcmp(args[0], "-h") == 0 || strcmp(args[0], "help") == 0)
        return usage(stdout, 0);
    if (strcmp(args[0], "--version") == 0) {
        (void)printf(PROGRAM " " VERSION "\n");
        return 0;
    }
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(args[0], commands[i].name) == 0)
            return commands[i].run(rest, args);
    (void)fprintf(stderr, PROGRAM ": there is no command '%.40s'\n", args[0]);
    return usage(stderr, 2);
}

/*
 * OpenMP threads that spin while they wait take the processor from the threads they wait for; on a shared machine this
 * more than doubles the time of a job. OpenMP reads its waiting policy when the program is loaded, so the program sets
 * the policy and starts itself a second time.
 */
static void start_with_patient_threads(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT") || setenv("OMP_WAIT_POLICY", "passive", 1))
        return;
    (void)execv("/proc/self/exe", argv); /* if it fails, the threads spin */
}

int main(int argc, char **argv)
{
    int status;

    start_with_patient_threads(argv);
    status = run(argc, argv);

    /* printf() only fills a buffer: a full disk shows when it is flushed */
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0) {
        perror(PROGRAM ": standard output");
        status = 1;
    }
    /* not exit(): a job that ignored its cancellation may still run, and needs its libraries */
    _exit(status);
}
