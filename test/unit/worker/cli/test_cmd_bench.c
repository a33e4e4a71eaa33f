/* The command bench, from its arguments: what it refuses, and small measurements. */
#include "test/support/check.h"
#include "test/support/outputs.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"

/* Runs the command without its output. */
static int quiet(const char *const *argv)
{
    const struct outputs before = outputs_redirect(NULL);
    int argc = 0, status;

    while (argv[argc])
        argc++;
    status = cmd_bench(argc, (char **)(uintptr_t)argv);
    outputs_restore(&before);
    return status;
}
#define BENCH(...) quiet((const char *const[]){ "bench", __VA_ARGS__, NULL })

TEST(cmd_bench__refuses_what_it_cannot_measure)
{
    CHECK_INT(BENCH("nothing"), CLI_USAGE);
    CHECK_INT(BENCH("step", "--width", "250"), CLI_USAGE);
    CHECK_INT(BENCH("step", "--width", "4112"), CLI_USAGE);
    CHECK_INT(BENCH("step", "--quant", "Q9"), CLI_USAGE);
    CHECK_INT(BENCH("text", "--layers", "0"), CLI_USAGE);
    CHECK_INT(BENCH("text", "--layers", "25"), CLI_USAGE);
    CHECK_INT(BENCH("text", "--txt", "513"), CLI_USAGE);
    CHECK_INT(BENCH("load"), CLI_USAGE);
    CHECK_INT(BENCH("load", "--file", "x", "--random"), CLI_USAGE);
    CHECK_INT(BENCH("load", "--random", "--gb", "0"), CLI_USAGE);
    CHECK_INT(BENCH("load", "--random", "--gb", "65"), CLI_USAGE);
    CHECK_INT(BENCH("load", "--file", "/no/such/file"), CLI_FAILED);
    CHECK_INT(BENCH("--help"), CLI_DONE);
}

/* The plain product next to the blocks is in bf16 too, which oneDNN lacks on processors without AVX-512. */
TEST(cmd_bench__measures_two_blocks_in_bf16)
{
    CHECK_INT(BENCH("block", "--width", "16", "--height", "16", "--txt", "8", "--repeats", "1", "--backend", "cpu",
                    "--quant", "Q4_0", "--precision", "bf16"), CLI_DONE);
}

TEST(cmd_bench__measures_the_pictures_of_a_small_job)
{
    CHECK_INT(BENCH("picture", "--width", "100", "--height", "60", "--turned", "--repeats", "1"), CLI_DONE);
}
