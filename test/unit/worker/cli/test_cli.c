#include "worker/cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/outputs.h"

struct args {
    const char *models, *file, *out, *result;
    int width, posterior, way;
    uint64_t seed;
    double guidance;
    bool force;
    struct cli_texts parts;
    struct cli_backend backend;
};

/* Parses; help goes to the file `out` (NULL: nowhere), messages go nowhere. */
static int parse_to(const char *out, struct args *a, int argc, char **argv)
{
    static const char *const posteriors[] = { "mean", "sample", NULL }, *const ways[] = { "fast", "slow", NULL };
    const struct cli_option options[] = {
        { "--models", CLI_TEXT, &a->models, "DIR", .help = "folder", .required = true },
        { "--width", CLI_INT, &a->width, "W", .help = "pixels", .min = 16, .max = 4096 },
        { "--seed", CLI_SEED, &a->seed, "S", .help = "seed" },
        { "--guidance", CLI_NUMBER, &a->guidance, "G", .help = "guidance", .min = 0, .max = 100 },
        { "--posterior", CLI_CHOICE, &a->posterior, NULL, .help = "which", .choices = posteriors },
        { "--result", CLI_OUT, &a->result, "FILE",
          .help = "the file that gets the result; this sentence is longer than a line of the help text, which breaks it "
                  "between two words and begins the next line below it" },
        { "--way", CLI_CHOICE, &a->way, .choices = ways, .help = "how\nfast: at once\nslow: later" },
        { "--force", CLI_FLAG, &a->force, NULL, .help = "do it" },
        { "--part", CLI_TEXTS, &a->parts, "P", .help = "one of many" },
        { "FILE", CLI_TEXT, &a->file, NULL, .help = "input", .required = true },
        { "OUT", CLI_TEXT, &a->out, NULL, .help = "output" },
        CLI_BACKEND_OPTIONS(a->backend),
    };
    const struct cli_command command = { "test", "a command", options, .n_options = CLI_COUNT(options),
                                         .example = "test --part a --part b" };
    const struct outputs before = outputs_redirect(out);
    int status;

    *a = (struct args){ 0 };
    status = cli_parse(&command, argc, argv);
    outputs_restore(&before);
    return status;
}

static int parse(struct args *a, int argc, char **argv)
{
    return parse_to(NULL, a, argc, argv);
}

#define PARSE(a, ...) \
    parse(a, (int)(sizeof((char *[]){ "test", __VA_ARGS__ }) / sizeof(char *)), (char *[]){ "test", __VA_ARGS__, NULL })

TEST(cli__reads_options_and_positional_arguments_in_any_order)
{
    struct args a;

    CHECK_INT(PARSE(&a, "--width", "64", "in.png", "--models=/m", "--seed", "18446744073709551615", "--force",
                    "--posterior", "sample", "out.png", "--guidance=2.5", "--backend", "plain", "--precision=bf16"),
              CLI_RUN);
    CHECK_STR(a.models, "/m");
    CHECK_STR(a.file, "in.png");
    CHECK_STR(a.out, "out.png");
    CHECK_INT(a.width, 64);
    CHECK_INT(a.posterior, 1);
    CHECK(a.seed == UINT64_MAX && a.guidance == 2.5 && a.force);
    CHECK_INT(a.backend.kind, BACKEND_PLAIN);
    CHECK_INT(a.backend.precision, PRECISION_BF16);
}

TEST(cli__words_for_a_precision_are_in_the_order_of_the_enum)
{
    struct args a;

    CHECK_INT(PARSE(&a, "--models", "m", "f"), CLI_RUN);
    CHECK_INT(a.backend.precision, PRECISION_DEFAULT);
    CHECK_INT(PARSE(&a, "--models", "m", "f", "--precision", "default"), CLI_RUN);
    CHECK_INT(a.backend.precision, PRECISION_DEFAULT);
    CHECK_INT(PARSE(&a, "--models", "m", "f", "--precision", "f32"), CLI_RUN);
    CHECK_INT(a.backend.precision, PRECISION_F32);
    CHECK_INT(PARSE(&a, "--models", "m", "f", "--precision", "auto"), CLI_RUN);
    CHECK_INT(a.backend.precision, PRECISION_AUTO);
    CHECK_INT(PARSE(&a, "--models", "m", "f", "--precision", "int8"), CLI_USAGE);
}

TEST(cli__takes_values_as_they_stand)
{
    struct args a;

    CHECK_INT(PARSE(&a, "--models", "--width", "--", "--seed"), CLI_RUN);
    CHECK_STR(a.models, "--width");
    CHECK_STR(a.file, "--seed");
    CHECK_INT(PARSE(&a, "--models=", "-"), CLI_RUN);
    CHECK_STR(a.models, "");
    CHECK_STR(a.file, "-");
}

TEST(cli__list_keeps_every_use_in_order)
{
    char *many[2 * CLI_MAX_TEXTS + 6] = { "test", "--models=/m", "in.png" };
    struct args a;
    int n = 3;

    CHECK_INT(PARSE(&a, "--part", "a", "--models=/m", "in.png", "--part=", "--part", "a"), CLI_RUN);
    CHECK_INT(a.parts.n, 3);
    CHECK_STR(a.parts.items[0], "a");
    CHECK_STR(a.parts.items[1], "");
    CHECK_STR(a.parts.items[2], "a");
    for (int i = 0; i < CLI_MAX_TEXTS; i++)
        many[n++] = "--part=x";
    CHECK_INT(parse(&a, n, many), CLI_RUN);
    CHECK_INT(a.parts.n, CLI_MAX_TEXTS);
    many[n++] = "--part=x";
    CHECK_INT(parse(&a, n, many), CLI_USAGE);
}

TEST(cli__help_is_success_even_when_something_is_missing)
{
    struct args a;

    CHECK_INT(PARSE(&a, "--help"), CLI_DONE);
    CHECK_INT(PARSE(&a, "--width", "64", "-h"), CLI_DONE);
}

TEST(cli__help_names_every_option_and_breaks_long_lines)
{
    const char *path = temp_path("help.txt");
    char text[4096];
    struct args a;
    FILE *f;

    CHECK_INT(parse_to(path, &a, 2, (char *[]){ "test", "--help", NULL }), CLI_DONE);
    f = fopen(path, "r");
    CHECK(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    (void)fclose(f);
    CHECK(strstr(text, "usage: inpaint-worker test FILE [OUT] [options]\n"));
    CHECK(strstr(text, "\n  --models DIR                   folder; required\n"));
    CHECK(strstr(text, "\n  --posterior mean|sample        which\n"));
    CHECK(strstr(text, "\n  --width W                      pixels; 16 to 4096\n"));
    CHECK(strstr(text, "\n  --seed S                       seed; 0 to 2^64 - 1\n"));
    CHECK(strstr(text, "\n  --way fast|slow                how\n                                 fast: at once\n"
                       "                                 slow: later\n"));
    CHECK(strstr(text, "\n  --precision default|f32|bf16|auto\n                                 inputs "));
    CHECK(strstr(text, "\n\nexample:\n  test --part a --part b\n"));
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strlen(line) > 112 || line[strlen(line) - 1] == ' ')
            test_fail(__FILE__, __LINE__, "'%s' is too long or ends with a blank", line);
}

TEST(cli__wrong_usage_is_two)
{
    static char *const wrong[][2] = {
        { "--width", "15" },
        { "--width", "4097" },
        { "--width", "64x" },
        { "--width", "" },
        { "--width", " 64" },
        { "--width", "+64" },
        { "--width", "0x40" },
        { "--width", "99999999999" },
        { "--seed", "-1" },
        { "--seed", "1.5" },
        { "--seed", "18446744073709551616" },
        { "--guidance", "nan" },
        { "--guidance", "inf" },
        { "--guidance", "1e9" },
        { "--guidance", "0x1p3" },
        { "--posterior", "median" },
        { "--backend", "tpu" },
        { "--nonsense", "1" },
        { "--force=1", "x" },
        { "extra", "arguments" },
        { "--width", NULL },
    };
    struct args a;

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *argv[] = { "test", "in.png", "--models", "m", wrong[i][0], wrong[i][1], NULL };

        if (parse(&a, wrong[i][1] ? 6 : 5, argv) != CLI_USAGE)
            test_fail(__FILE__, __LINE__, "%s %s is accepted", wrong[i][0], wrong[i][1]);
    }
    CHECK_INT(PARSE(&a, "in.png"), CLI_USAGE);
    CHECK_INT(PARSE(&a, "--models", "m"), CLI_USAGE);
}

TEST(cli__an_output_path_that_cannot_be_written_fails_before_any_work)
{
    static char *const nowhere[] = {
        "/nonexistent/x", "no-such-folder/x", "/proc/self/status/x", "/etc/passwd/x", "/tmp", "/tmp/", "/dev/null", ""
    };
    static char *const places[] = { "x", "./x", "/tmp/x", "//tmp//x" };
    struct args a;

    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++)
        if (PARSE(&a, "in.png", "--models", "m", "--result", nowhere[i]) != CLI_FAILED)
            test_fail(__FILE__, __LINE__, "'%s' is accepted", nowhere[i]);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (PARSE(&a, "in.png", "--models", "m", "--result", places[i]) != CLI_RUN || a.result != places[i])
            test_fail(__FILE__, __LINE__, "'%s' is refused", places[i]);
}
