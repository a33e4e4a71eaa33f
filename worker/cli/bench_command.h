/*
 * bench_command - `bench WHAT`: options, runs, and how figures are printed. The command of inpaint-worker and the
 * program gpu-bench, which has none of the libraries for HTTP and pictures, are the same but for one benchmark.
 */
#ifndef WORKER_CLI_BENCH_COMMAND_H
#define WORKER_CLI_BENCH_COMMAND_H

#include <stdbool.h>

struct bench_command {
    const char *name;
    bool is_program; /* else a command of inpaint-worker */
    /* `bench picture`; NULL: there is none. Returns the exit status. */
    int (*picture)(int width_px, int height_px, bool turned, int repeats);
};

/* Returns the exit status. */
int bench_command(const struct bench_command *c, int argc, char **argv);

/* A line about the host's processor. */
void bench_print_processor(void);

#endif
