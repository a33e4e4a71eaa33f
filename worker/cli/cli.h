/*
 * cli - the options of a command as a table: one parser, one help text, one way to fail.
 *
 *   int cmd_x(int argc, char **argv)          argv[0] is the command's name ("x"); returns the exit status
 *   {
 *       struct args a = { .steps = 50 };      the table points at these; an absent option leaves its default
 *       const struct cli_option options[] = {
 *           { "--models", CLI_TEXT, &a.models, "DIR", .help = "folder with the model files", .required = true },
 *           { "--steps", CLI_INT, &a.steps, "N", .help = "denoising steps; default 50", .min = 1, .max = 1000 },
 *           { "FILE", CLI_TEXT, &a.file, NULL, .help = "the file to read", .required = true },
 *           CLI_BACKEND_OPTIONS(a.backend),
 *       };
 *       const struct cli_command command = { "x", "does x", options, .n_options = CLI_COUNT(options) };
 *       int status = cli_parse(&command, argc, argv);
 *       struct run r = { 0 };                 all that the command opens
 *       struct err err = { 0 };
 *
 *       if (status != CLI_RUN)
 *           return status;
 *       status = x(&r, &a, &err) ? cli_fail(&command, &err) : CLI_DONE;
 *       close_run(&r);
 *       return status;
 *   }
 *
 * Every command has this shape: x() opens, reads, computes and writes, and returns at the first step that fails;
 * close_run() releases whatever had been opened by then.
 *
 * Options are written `--name value` or `--name=value`, in any order and mixed with positional arguments; the value is
 * taken as it stands, even when it begins with a dash. The last one of a repeated option counts, except of
 * CLI_TEXTS. `--` ends the options;
 * a positional argument needs it when it begins with a dash and contains no blank.
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
    CLI_TEXTS,  /* struct cli_texts *, which takes each of a repeated option */
    CLI_OUT,    /* const char **, a file to write: that it can be written is checked before any work */
    CLI_INT,    /* int *, decimal, within min .. max */
    CLI_SEED,   /* uint64_t *, decimal, 0 .. 2^64 - 1 */
    CLI_NUMBER, /* double *, finite, within min .. max */
    CLI_CHOICE, /* int *, the index of the word in `choices` */
    CLI_FLAG    /* bool *, takes no value */
};

enum { CLI_MAX_OPTIONS = 40, CLI_MAX_TEXTS = 8 };

struct cli_texts {
    const char *items[CLI_MAX_TEXTS];
    int n;
};

struct cli_option {
    const char *name; /* "--width"; without dashes: a positional argument, in the order of the table */
    enum cli_kind kind;
    void *dst;         /* left alone when the option is absent */
    const char *value; /* placeholder for the value in the help text; NULL: flags, choices, positional arguments */
    const char *help;  /* set it as .help = ...: then the fields before it may be left out without a warning */
    bool required;
    double min, max;            /* both 0: any */
    const char *const *choices; /* NULL-terminated */
};

struct cli_command {
    const char *name, *summary;
    const struct cli_option *options;
    int n_options;
    bool is_program;     /* a program of this name; false: a command of inpaint-worker */
    const char *example; /* a command line, for the help text; NULL: none */
};

#define CLI_COUNT(options) ((int)(sizeof(options) / sizeof *(options)))

/*
 * Returns CLI_RUN when the command is to go on, else the exit status: CLI_DONE after --help was printed; CLI_USAGE for
 * wrong usage and CLI_FAILED for an output file that cannot be written, both after a line on stderr.
 */
MUST_CHECK int cli_parse(const struct cli_command *c, int argc, char **argv);

/* Writes the error as one line on stderr, after the command's name; returns CLI_FAILED. */
int cli_fail(const struct cli_command *c, const struct err *err);
/* The same for wrong usage that the table cannot express, such as two options that exclude each other; returns
 * CLI_USAGE. */
int cli_misused(const struct cli_command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct cli_backend {
    int kind, precision; /* enum backend_kind, enum precision */
};

extern const char *const cli_precision_names[]; /* in the order of enum precision */

/* Of the option --lora, beside one that names a folder of models. */
#define CLI_LORA_HELP                                                                                   \
    "a LoRA that is merged into the transformer, a path or a file of that folder or its folder loras, " \
    "with a scale from -10 to 10; may be given several times"

#define CLI_BACKEND_OPTIONS(b)                                                               \
    { "--backend", CLI_CHOICE, &(b).kind, .choices = backend_kind_names,                     \
      .help = "where to compute; auto (default): CUDA if there is a device, else the CPU" }, \
        { "--precision", CLI_CHOICE, &(b).precision, .choices = cli_precision_names,         \
          .help = "inputs of matrix products; default: f32 on the CPU, bf16 on CUDA; auto: the choice of `serve`" }

/* Opens the backend that the options ask for; its warnings go to stderr. */
MUST_CHECK enum err_code cli_backend_open(const struct cli_backend *b, struct backend **ret, struct err *err);
/* Writes a warning as one line on stderr; fits `warn` of a backend. */
void cli_warn(const char *line);

#endif
