/* What `prompts` prints: for people, and for scripts. */
#include <stdio.h>
#include <string.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/outputs.h"
#include "worker/cli/commands.h"
#include "worker/job/prompt_table.h"

static char out[1 << 16];

static int prompts(const char *option)
{
    const char *path = temp_path("prompts.txt");
    const struct outputs before = outputs_redirect(path);
    const int status = cmd_prompts(option ? 2 : 1, (char *[]){ "prompts", (char *)(uintptr_t)option, NULL });
    FILE *f = fopen(path, "r");

    outputs_restore(&before);
    CHECK(f);
    out[fread(out, 1, sizeof out - 1, f)] = '\0';
    (void)fclose(f);
    return status;
}

TEST(cmd_prompts__plain_is_one_prompt_on_each_line)
{
    const char *at = out;

    CHECK_INT(prompts("--plain"), 0);
    for (int i = 0; prompt_table_at(i); i++) {
        const char *prompt = prompt_table_at(i)->prompt;

        CHECK(strncmp(at, prompt, strlen(prompt)) == 0);
        at += strlen(prompt);
        CHECK(*at == '\n');
        at++;
    }
    CHECK_STR(at, "");
}

/* Every label is there, and no line is too long for a terminal. */
TEST(cmd_prompts__prints_the_labels_under_their_prompt)
{
    const char *at = out;

    CHECK_INT(prompts(NULL), 0);
    for (const char *line = out; *line; line += strcspn(line, "\n") + 1)
        CHECK(strcspn(line, "\n") <= 120);
    for (int i = 0; prompt_table_at(i); i++) {
        at = strstr(at, prompt_table_at(i)->prompt);
        CHECK(at);
        for (const char *label = prompt_table_at(i)->labels; *label; label += strcspn(label, ",") + 2) {
            char text[100];

            (void)snprintf(text, sizeof text, " %.*s", (int)strcspn(label, ","), label);
            CHECK(strstr(at, text));
            if (!label[strcspn(label, ",")])
                break;
        }
    }
    CHECK_INT(prompts("--json"), 2);
}
