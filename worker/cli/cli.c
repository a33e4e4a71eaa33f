#include "worker/cli/cli.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const cli_precision_names[] = { "default", "f32", "bf16", "auto", NULL };

enum { NAME_WIDTH = 30, HELP_COLUMN = NAME_WIDTH + 3, HELP_WIDTH = 112 /* characters */ };

/* The words before a command's name, on the command line and in messages. */
static const char *before(const struct cli_command *c)
{
    return c->is_program ? "" : "inpaint-worker ";
}

static bool is_positional(const struct cli_option *o)
{
    return o->name[0] != '-';
}

/* Appends to a text of *len characters, up to the buffer's end. */
static void append(char *buf, size_t size, size_t *len, const char *text)
{
    int n = snprintf(buf + *len, size - *len, "%s", text);

    *len = *len + (size_t)n < size ? *len + (size_t)n : size - 1;
}

/* "mean|sample" */
static void append_choices(const struct cli_option *o, char *buf, size_t size, size_t *len)
{
    for (int i = 0; o->choices[i]; i++) {
        append(buf, size, len, i ? "|" : "");
        append(buf, size, len, o->choices[i]);
    }
}

/* "--width N", "--posterior mean|sample", "FILE". A positional choice has its words for a name already. */
static void describe(const struct cli_option *o, char *buf, size_t size)
{
    size_t len = 0;

    append(buf, size, &len, o->name);
    if (is_positional(o) || o->kind == CLI_FLAG)
        return;
    append(buf, size, &len, " ");
    if (o->kind == CLI_CHOICE)
        append_choices(o, buf, size, &len);
    else
        append(buf, size, &len, o->value);
}

/* Breaks the text between words and at line feeds; the lines after the first begin below it. */
static void print_wrapped(const char *text)
{
    int column = HELP_COLUMN;

    for (size_t n; *text; text += n + (text[n] != '\0')) {
        n = strcspn(text, " \n");
        if (column > HELP_COLUMN && (text[-1] == '\n' || column + 1 + (int)n > HELP_WIDTH)) {
            (void)printf("\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            (void)putchar(' ');
            column++;
        }
        (void)printf("%.*s", (int)n, text);
        column += (int)n;
    }
    (void)putchar('\n');
}

static void print_option(const char *name, const char *help)
{
    if (strlen(name) > NAME_WIDTH)
        (void)printf("  %s\n%*s", name, HELP_COLUMN, "");
    else
        (void)printf("  %-*s ", NAME_WIDTH, name);
    print_wrapped(help);
}

/* The help text of an option. Its first line ends with the limits of a number, and says when the option is required. */
static void explain(const struct cli_option *o, char *buf, size_t size)
{
    const char *rest = o->help + strcspn(o->help, "\n");
    char limits[64] = "";
    size_t len = 0;

    if (o->kind == CLI_SEED)
        (void)snprintf(limits, sizeof limits, "; 0 to 2^64 - 1");
    else if ((o->kind == CLI_INT || o->kind == CLI_NUMBER) && (o->min != 0 || o->max != 0))
        (void)snprintf(limits, sizeof limits, "; %g to %g", o->min, o->max);
    append(buf, size, &len, o->help);
    len -= len < (size_t)(rest - o->help) ? 0 : len - (size_t)(rest - o->help);
    append(buf, size, &len, limits);
    append(buf, size, &len, o->required ? "; required" : "");
    append(buf, size, &len, rest);
}

static void print_help(const struct cli_command *c)
{
    char name[160], help[800];

    (void)printf("%s%s - %s\n\nusage: %s%s", before(c), c->name, c->summary, before(c), c->name);
    for (int i = 0; i < c->n_options; i++)
        if (is_positional(&c->options[i]))
            (void)printf(c->options[i].required ? " %s" : " [%s]", c->options[i].name);
    (void)printf(" [options]\n\n");
    for (int i = 0; i < c->n_options; i++) {
        describe(&c->options[i], name, sizeof name);
        explain(&c->options[i], help, sizeof help);
        print_option(name, help);
    }
    print_option("--help", "print this text");
    if (c->example)
        (void)printf("\nexample:\n  %s\n", c->example);
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

/* The strto*() functions skip blanks and take "+", hexadecimal and "nan". Here a number begins with a digit, or with a
 * minus and a digit. */
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

static bool add_text(struct cli_texts *to, const char *text)
{
    if (to->n == CLI_MAX_TEXTS)
        return false;
    to->items[to->n++] = text;
    return true;
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
    case CLI_TEXTS:
        return add_text(o->dst, text);
    case CLI_FLAG:
        break;
    }
    return false;
}

/* "1 to 1000", "mean|sample" */
static void describe_allowed(const struct cli_option *o, char *buf, size_t size)
{
    size_t len = 0;

    if (o->kind == CLI_CHOICE)
        append_choices(o, buf, size, &len);
    else if (o->kind == CLI_SEED)
        append(buf, size, &len, "a whole number from 0 to 2^64 - 1");
    else if (o->min != 0 || o->max != 0)
        (void)snprintf(buf, size, "%s%g to %g", o->kind == CLI_INT ? "a whole number from " : "", o->min, o->max);
    else if (o->kind == CLI_TEXTS)
        (void)snprintf(buf, size, "given at most %d times", CLI_MAX_TEXTS);
    else
        append(buf, size, &len, o->kind == CLI_INT ? "a whole number" : "a number");
}

static int set_value(const struct cli_command *c, const struct cli_option *o, const char *text)
{
    char allowed[160];

    if (parse_value(o, text))
        return CLI_RUN;
    describe_allowed(o, allowed, sizeof allowed);
    if (is_positional(o))
        return cli_misused(c, "an argument must be %s, not '%.80s'", allowed, text);
    return cli_misused(c, "%s takes %s, not '%.80s'", o->name, allowed, text);
}

/* argv[*at] begins with "--"; *at moves on to the value where that is the next word. */
static int take_option(const struct cli_command *c, int argc, char **argv, int *at, bool *ret_given)
{
    const char *word = argv[*at], *equals = strchr(word, '=');
    const struct cli_option *o = find_option(c, word, equals ? (size_t)(equals - word) : strlen(word));

    if (!o)
        return cli_misused(c, "there is no option '%.80s'", word);
    ret_given[o - c->options] = true;
    if (o->kind == CLI_FLAG) {
        if (equals)
            return cli_misused(c, "%s takes no value", o->name);
        *(bool *)o->dst = true;
        return CLI_RUN;
    }
    if (equals)
        return set_value(c, o, equals + 1);
    if (*at + 1 >= argc)
        return cli_misused(c, "%s needs a value", o->name);
    return set_value(c, o, argv[++*at]);
}

static int take_positional(const struct cli_command *c, const char *word, int nth, bool *ret_given)
{
    const struct cli_option *o = find_positional(c, nth);

    if (!o)
        return cli_misused(c, "'%.80s' is one argument too many", word);
    ret_given[o - c->options] = true;
    return set_value(c, o, word);
}

/* A text such as "- no leash" is not an option: their names contain no blanks. */
static bool looks_like_option(const char *word)
{
    size_t n = strcspn(word, " \t\n=");

    return word[0] == '-' && word[1] && (word[n] == '\0' || word[n] == '=');
}

/* A result that cannot be stored is reported before an hour of computing, not after it. */
static int check_output(const struct cli_command *c, const struct cli_option *o)
{
    const char *path = *(const char **)o->dst, *slash = strrchr(path, '/');
    char folder[4096];
    struct stat st;
    int n = slash ? (int)(slash - path) : 0;

    if (snprintf(folder, sizeof folder, "%.*s%s", n, path, slash == path ? "/" : n ? "" : ".") >= (int)sizeof folder)
        errno = ENAMETOOLONG;
    else if (!*path)
        errno = ENOENT;
    else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) /* writing would replace it, even /dev/null */
        errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
    else if (stat(folder, &st) == 0 && !S_ISDIR(st.st_mode))
        errno = ENOTDIR;
    else if (access(folder, W_OK | X_OK) == 0) /* where stat() failed, access() fails for the same reason */
        return CLI_RUN;
    (void)fprintf(stderr, "%s%s: %s '%.200s' cannot be written: %s\n", before(c), c->name, o->name, path,
                  strerror(errno));
    return CLI_FAILED;
}

static int missing(const struct cli_command *c, const struct cli_option *o)
{
    char choices[160] = "";
    size_t len = 0;

    if (o->kind != CLI_CHOICE || strchr(o->name, '|'))
        return cli_misused(c, "%s is required", o->name);
    append_choices(o, choices, sizeof choices, &len);
    return cli_misused(c, "%s is required: %s", o->name, choices);
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
            status = missing(c, &c->options[i]);
    for (int i = 0; i < c->n_options && status == CLI_RUN; i++)
        if (c->options[i].kind == CLI_OUT && given[i])
            status = check_output(c, &c->options[i]);
    return status;
}

int cli_fail(const struct cli_command *c, const struct err *err)
{
    (void)fprintf(stderr, "%s%s: %s\n", before(c), c->name, err->msg[0] ? err->msg : err_name(err->code));
    return CLI_FAILED;
}

int cli_misused(const struct cli_command *c, const char *fmt, ...)
{
    va_list ap;

    (void)fprintf(stderr, "%s%s: ", before(c), c->name);
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fprintf(stderr, " (see %s%s --help)\n", before(c), c->name);
    return CLI_USAGE;
}

void cli_warn(const char *line)
{
    (void)fprintf(stderr, "inpaint-worker: warning: %s\n", line);
}

enum err_code cli_backend_open(const struct cli_backend *b, struct backend **ret, struct err *err)
{
    TRY(backend_open((enum backend_kind)b->kind, (enum precision)b->precision, ret, err));
    (*ret)->warn = cli_warn;
    return ERR_OK;
}
