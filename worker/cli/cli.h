/*
 * cli - the options of a command as a table: one parser, one usage text, one way to fail.
 *
 *   static int cmd_x(int argc, char **argv)   argv[0] is the command's name ("fill"); returns the exit status
 *   {
 *       struct args a = { .steps = 50 };      defaults: what the table points at before parsing
 *       const struct cli_option options[] = {
 *           { "--models", CLI_TEXT, &a.models, "DIR", .help = "folder with the model files", .required = true },
 *           { "--steps", CLI_INT, &a.steps, "N", .help = "denoising steps (50)", .min = 1, .max = 1000 },
 *           { "FILE", CLI_TEXT, &a.file, NULL, .help = "the file to read", .required = true },
 *           CLI_BACKEND_OPTIONS(a.backend),
 *       };
 *       const struct cli_command c = { "x", "does x", options, .n_options = CLI_COUNT(options) };
 *       int status = cli_parse(&c, argc, argv);
 *
 *       if (status != CLI_RUN)
 *           return status;
 *
 * Options are written `--name value` or `--name=value`, in any order and mixed with positional arguments; the value is
 * taken as it stands, even with a dash in front. The last one of a repeated option counts. `--` ends the options; a
 * positional argument needs it when it begins with a dash and holds no blank.
 * Exit status: 0 done, 1 the operation failed, 2 wrong usage.
 */
#ifndef WORKER_CLI_CLI_H
#define WORKER_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/backend.h"
#include "kernels/base/err.h"

enum { CLI_RUN = -1, CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

enum cli_kind {
    CLI_TEXT,   /* const char **, into argv */
    CLI_OUT,    /* the same, a file to be written: its folder is there and may be written to, told before any work */
    CLI_INT,    /* int *, decimal, within min .. max */
    CLI_SEED,   /* uint64_t *, decimal, 0 .. 2^64 - 1 */
    CLI_NUMBER, /* double *, finite, within min .. max */
    CLI_CHOICE, /* int *, the index of the word in `choices` */
    CLI_FLAG    /* bool *, takes no value */
};

enum { CLI_MAX_OPTIONS = 40 };

struct cli_option {
    const char *name; /* "--width"; without dashes: a positional argument, in the order of the table */
    enum cli_kind kind;
    void *dst;         /* not touched when the option is absent */
    const char *value; /* what help calls the value; NULL for flags, choices, positional arguments */
    const char *help;  /* designate it (.help = ...): then the rest may be left out without a warning */
    bool required;
    double min, max;            /* both 0: any */
    const char *const *choices; /* NULL-terminated */
};

struct cli_command {
    const char *name, *summary;
    const struct cli_option *options;
    int n_options;
    bool is_program; /* of its own, by this name; else a command of inpaint-worker */
};

#define CLI_COUNT(options) ((int)(sizeof(options) / sizeof *(options)))

/* CLI_RUN; or the exit status, when --help was printed (CLI_DONE), the usage is wrong (CLI_USAGE) or a result would
 * find no place (CLI_FAILED), both said on stderr. */
MUST_CHECK int cli_parse(const struct cli_command *c, int argc, char **argv);

/* One line on stderr with the command's name; returns CLI_FAILED. */
int cli_fail(const char *command, const struct err *err);
int cli_command_failed(const struct cli_command *c, const struct err *err);
/* The same for usage that the table cannot rule out; returns CLI_USAGE. */
int cli_misused(const struct cli_command *c, const char *what);

struct cli_backend {
    int kind, precision; /* enum backend_kind, enum precision */
};

extern const char *const cli_precision_names[]; /* in the order of enum precision */

#define CLI_BACKEND_OPTIONS(b)                                                       \
    { "--backend", CLI_CHOICE, &(b).kind, .choices = backend_kind_names,             \
      .help = "where to compute (auto: CUDA where there is a device)" },             \
        { "--precision", CLI_CHOICE, &(b).precision, .choices = cli_precision_names, \
          .help = "inputs of matrix products (f32 on the CPU, bf16 on CUDA); auto: as `serve` chooses" }

/* What the backend warns of goes to stderr. */
MUST_CHECK enum err_code cli_backend_open(const struct cli_backend *b, struct backend **ret, struct err *err);
void cli_warn(const char *line);

#endif
