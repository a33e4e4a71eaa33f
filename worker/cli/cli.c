#include "worker/cli/cli.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const cli_precision_names[] = { "default", "f32", "bf16", "auto", NULL };

enum { HELP_COLUMN = 30 };

/* What stands before a command's name, on the command line and in messages. */
static const char *before(const struct cli_command *c)
{
    return c->is_program ? "" : "inpaint-worker ";
}

static bool is_positional(const struct cli_option *o)
{
    return o->name[0] != '-';
}

/* "--width N", "--posterior mean|sample", "FILE"; a positional choice is named by its words already */
static void describe(const struct cli_option *o, char *buf, size_t size)
{
    int n = snprintf(buf, size, "%s", o->name);

    if (is_positional(o))
        return;
    if (o->kind == CLI_CHOICE)
        for (int i = 0; o->choices[i] && n < (int)size; i++)
            n += snprintf(buf + n, size - (size_t)n, "%s%s", i ? "|" : " ", o->choices[i]);
    else if (o->value && n < (int)size)
        (void)snprintf(buf + n, size - (size_t)n, " %s", o->value);
}

static void print_help(const struct cli_command *c)
{
    char text[160];

    (void)printf("%s%s - %s\n\nusage: %s%s", before(c), c->name, c->summary, before(c), c->name);
    for (int i = 0; i < c->n_options; i++)
        if (is_positional(&c->options[i]))
            (void)printf(c->options[i].required ? " %s" : " [%s]", c->options[i].name);
    (void)printf(" [options]\n\n");
    for (int i = 0; i < c->n_options; i++) {
        describe(&c->options[i], text, sizeof text);
        (void)printf("  %-*s ", HELP_COLUMN, text);
        if (strlen(text) > HELP_COLUMN)
            (void)printf("\n  %-*s ", HELP_COLUMN, "");
        (void)printf("%s%s\n", c->options[i].help, c->options[i].required ? "; required" : "");
    }
    (void)printf("  %-*s this text\n", HELP_COLUMN, "--help");
}

static int wrong_usage(const struct cli_command *c, const char *what, const char *name)
{
    (void)fprintf(stderr, "%s%s: %s '%.80s' (see %s%s --help)\n", before(c), c->name, what, name, before(c), c->name);
    return CLI_USAGE;
}

static const struct cli_option *find_option(const struct cli_command *c, const char *name, size_t len)
{
    for (int i = 0; i < c->n_options; i++)
        if (!is_positional(&c->options[i]) && strlen(c->options[i].name) == len &&
            !strncmp(c->options[i].name, name, len))
            return &c->options[i];
    return NULL;
}

static const struct cli_option *find_positional(const struct cli_command *c, int nth)
{
    for (int i = 0; i < c->n_options; i++)
        if (is_positional(&c->options[i]) && nth-- == 0)
            return &c->options[i];
    return NULL;
}

static bool in_range(const struct cli_option *o, double v)
{
    return (o->min == 0 && o->max == 0) || (v >= o->min && v <= o->max);
}

/* strto* skip blanks and take signs, hexadecimal and "nan": a number here begins with a digit, or a minus and a digit.
 */
static bool looks_like_a_number(const char *text)
{
    text += *text == '-';
    return *text >= '0' && *text <= '9' && !strpbrk(text, "xX");
}

static bool parse_int(const struct cli_option *o, const char *text)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(text, &end, 10);
    if (!looks_like_a_number(text) || *end || errno || v < -INT32_MAX || v > INT32_MAX || !in_range(o, (double)v))
        return false;
    *(int *)o->dst = (int)v;
    return true;
}

static bool parse_seed(const struct cli_option *o, const char *text)
{
    char *end;
    unsigned long long v;

    errno = 0;
    v = strtoull(text, &end, 10);
    if (!looks_like_a_number(text) || *text == '-' || *end || errno)
        return false;
    *(uint64_t *)o->dst = v;
    return true;
}

static bool parse_number(const struct cli_option *o, const char *text)
{
    char *end;
    double v = strtod(text, &end);

    if (!looks_like_a_number(text) || *end || !isfinite(v) || !in_range(o, v))
        return false;
    *(double *)o->dst = v;
    return true;
}

static bool parse_choice(const struct cli_option *o, const char *text)
{
    for (int i = 0; o->choices[i]; i++)
        if (!strcmp(o->choices[i], text)) {
            *(int *)o->dst = i;
            return true;
        }
    return false;
}

static bool parse_value(const struct cli_option *o, const char *text)
{
    switch (o->kind) {
    case CLI_INT:
        return parse_int(o, text);
    case CLI_SEED:
        return parse_seed(o, text);
    case CLI_NUMBER:
        return parse_number(o, text);
    case CLI_CHOICE:
        return parse_choice(o, text);
    case CLI_TEXT:
    case CLI_OUT:
        *(const char **)o->dst = text;
        return true;
    case CLI_FLAG:
        break;
    }
    return false;
}

static int set_value(const struct cli_command *c, const struct cli_option *o, const char *text)
{
    char what[240], wanted[160];

    if (parse_value(o, text))
        return CLI_RUN;
    describe(o, wanted, sizeof wanted);
    if (o->min != 0 || o->max != 0)
        (void)snprintf(what, sizeof what, "%s takes %g to %g, not", wanted, o->min, o->max);
    else
        (void)snprintf(what, sizeof what, "%s: wrong value", wanted);
    return wrong_usage(c, what, text);
}

/* argv[*at] begins with "--"; *at moves on to the value where that is a word of its own. */
static int take_option(const struct cli_command *c, int argc, char **argv, int *at, bool *ret_given)
{
    const char *word = argv[*at], *equals = strchr(word, '=');
    const struct cli_option *o = find_option(c, word, equals ? (size_t)(equals - word) : strlen(word));

    if (!o)
        return wrong_usage(c, "unknown option", word);
    ret_given[o - c->options] = true;
    if (o->kind == CLI_FLAG) {
        if (equals)
            return wrong_usage(c, "takes no value:", o->name);
        *(bool *)o->dst = true;
        return CLI_RUN;
    }
    if (equals)
        return set_value(c, o, equals + 1);
    if (*at + 1 >= argc)
        return wrong_usage(c, "a value is missing after", word);
    return set_value(c, o, argv[++*at]);
}

static int take_positional(const struct cli_command *c, const char *word, int nth, bool *ret_given)
{
    const struct cli_option *o = find_positional(c, nth);

    if (!o)
        return wrong_usage(c, "one argument too many:", word);
    ret_given[o - c->options] = true;
    return set_value(c, o, word);
}

/* A text such as "- no leash" is none: names of options hold no blanks. */
static bool looks_like_option(const char *word)
{
    size_t n = strcspn(word, " \t\n=");

    return word[0] == '-' && word[1] && (word[n] == '\0' || word[n] == '=');
}

/* A result that cannot be stored is better known before an hour of computing it than after. */
static int check_place(const struct cli_command *c, const struct cli_option *o)
{
    const char *path = *(const char **)o->dst, *slash = strrchr(path, '/');
    char folder[4096];
    struct stat st;
    int n = slash ? (int)(slash - path) : 0;

    if (snprintf(folder, sizeof folder, "%.*s%s", n, path, slash == path ? "/" : n ? "" : ".") >= (int)sizeof folder)
        errno = ENAMETOOLONG;
    else if (!*path)
        errno = ENOENT;
    else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) /* it would be replaced, /dev/null too */
        errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
    else if (stat(folder, &st) == 0 && !S_ISDIR(st.st_mode))
        errno = ENOTDIR;
    else if (access(folder, W_OK | X_OK) == 0) /* where stat() failed, this fails in the same way */
        return CLI_RUN;
    (void)fprintf(stderr, "%s%s: %s %.200s: cannot be written: %s\n", before(c), c->name, o->name, path,
                  strerror(errno));
    return CLI_FAILED;
}

int cli_parse(const struct cli_command *c, int argc, char **argv)
{
    bool given[CLI_MAX_OPTIONS] = { false }, options_end = false;
    int n_positional = 0, status = CLI_RUN;

    assert(c->n_options <= CLI_MAX_OPTIONS);
    for (int i = 1; i < argc && status == CLI_RUN; i++) {
        if (!options_end && (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))) {
            print_help(c);
            return CLI_DONE;
        }
        if (!options_end && !strcmp(argv[i], "--"))
            options_end = true;
        else if (!options_end && looks_like_option(argv[i]))
            status = take_option(c, argc, argv, &i, given);
        else
            status = take_positional(c, argv[i], n_positional++, given);
    }
    for (int i = 0; i < c->n_options && status == CLI_RUN; i++)
        if (c->options[i].required && !given[i])
            status = wrong_usage(c, "missing:", c->options[i].name);
    for (int i = 0; i < c->n_options && status == CLI_RUN; i++)
        if (c->options[i].kind == CLI_OUT && given[i])
            status = check_place(c, &c->options[i]);
    return status;
}

int cli_command_failed(const struct cli_command *c, const struct err *err)
{
    (void)fprintf(stderr, "%s%s: %s\n", before(c), c->name, err->msg[0] ? err->msg : err_name(err->code));
    return CLI_FAILED;
}

int cli_fail(const char *command, const struct err *err)
{
    return cli_command_failed(&(struct cli_command){ .name = command }, err);
}

int cli_misused(const struct cli_command *c, const char *what)
{
    (void)fprintf(stderr, "%s%s: %s (see %s%s --help)\n", before(c), c->name, what, before(c), c->name);
    return CLI_USAGE;
}

void cli_warn(const char *line)
{
    (void)fprintf(stderr, "inpaint-worker: warning: %s\n", line);
}

enum err_code cli_backend_open(const struct cli_backend *b, struct backend **ret, struct err *err)
{
    enum err_code rc = backend_open((enum backend_kind)b->kind, (enum precision)b->precision, ret, err);

    if (!rc)
        (*ret)->warn = cli_warn;
    return rc;
}
