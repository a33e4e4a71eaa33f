/*
 * bench_command - the command `bench WHAT`: its options, what it runs, and how its figures are printed. Two programs
 * share it: inpaint-worker, and gpu-bench, which is built without the libraries for HTTP and pictures and therefore
 * lacks `bench picture`.
 */
#ifndef WORKER_CLI_BENCH_COMMAND_H
#define WORKER_CLI_BENCH_COMMAND_H

#include "models/bench/bench_picture.h"

struct bench_command {
    const char *name;
    bool is_program; /* a program of this name; false: a command of inpaint-worker */
    /* `bench picture`, which also prints; NULL: not available */
    enum err_code (*picture)(const struct bench_picture_options *o, struct err *err);
};

/* Returns the exit status. */
int bench_command(const struct bench_command *c, int argc, char **argv);

/* Prints a line about the processor of the host. */
void bench_print_processor(void);

#endif
