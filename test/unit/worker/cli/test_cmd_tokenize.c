#include <stdio.h>
#include <string.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/outputs.h"
#include "worker/cli/commands.h"

/* Runs the command; its stdout goes to *ret_out, its stderr nowhere. */
static int run(const char *encoder, const char *models, const char *text, char *ret_out, size_t size)
{
    char *argv[] = { "tokenize", "--models", (char *)models, "--encoder", (char *)encoder, (char *)text, NULL };
    const char *path = temp_path("tokenize.txt");
    const struct outputs before = outputs_redirect(path);
    int status = cmd_tokenize(text ? 6 : 5, argv);
    FILE *f;

    outputs_restore(&before);
    f = fopen(path, "r");
    CHECK(f);
    ret_out[fread(ret_out, 1, size - 1, f)] = '\0';
    (void)fclose(f);
    return status;
}

TEST(cmd_tokenize__prints_the_ids_on_one_line)
{
    const char *file = golden("small/models/tokenizer_2/spiece.model");
    char models[256], out[4096];

    (void)snprintf(models, sizeof models, "%.*s", (int)(strstr(file, "/tokenizer_2") - file), file);
    CHECK_INT(run("t5", models, "a white paper cup", out, sizeof out), 0);
    CHECK_STR(out, "40 3 394 38 18 7 13 399 8 7 20 3 397 12 8 1\n"); /* as in the golden set */
    CHECK_INT(run("clip", models, "a white paper cup", out, sizeof out), 0);
    CHECK_STR(out, "712 320 86 71 72 697 79 64 79 68 337 66 84 335 713\n");
    CHECK_INT(run("t5", models, "- a", out, sizeof out), 0); /* not an option */
    CHECK_STR(out, "3 30 40 1\n");
    CHECK_INT(run("t5", models, "", out, sizeof out), 0);
    CHECK_STR(out, "1\n");
}

TEST(cmd_tokenize__takes_the_vocabulary_out_of_a_gguf)
{
    const char *file = golden("comfy/models/t5-encoder-Q8_0.gguf");
    char models[256], out[4096];

    (void)snprintf(models, sizeof models, "%.*s", (int)(strstr(file, "/t5-encoder") - file), file);
    CHECK_INT(run("t5", models, "a white paper cup", out, sizeof out), 0);
    CHECK_STR(out, "3 299 3 294 33 15 7 12 299 8 7 18 3 297 10 8 1\n");
}

TEST(cmd_tokenize__tells_failure_from_wrong_usage)
{
    const char *file = golden("small/models/tokenizer_2/spiece.model");
    char models[256], out[64];

    (void)snprintf(models, sizeof models, "%.*s", (int)(strstr(file, "/tokenizer_2") - file), file);
    CHECK_INT(run("t5", models, "\xFF", out, sizeof out), 1);
    CHECK_STR(out, "");
    CHECK_INT(run("clip", "/nowhere", "x", out, sizeof out), 1);
    CHECK_INT(run("bert", models, "x", out, sizeof out), 2);
    CHECK_INT(run("t5", models, NULL, out, sizeof out), 2);
    CHECK_STR(out, "");
}
