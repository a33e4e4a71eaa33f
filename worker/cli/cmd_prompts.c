/* cmd_prompts - prints the sentences that the worker paints with when the app sends no prompt of its own. */
#include <stdio.h>
#include <string.h>

#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/job/prompt_table.h"

enum { LINE_WIDTH = 112 /* characters */ };

/* Breaks a list between its labels; each line begins with four blanks. */
static void print_labels(const char *labels)
{
    int column = 0;

    while (*labels) {
        int n = (int)strcspn(labels, ",");

        if (column && column + n + 2 > LINE_WIDTH) {
            (void)printf("\n");
            column = 0;
        }
        column += column ? printf(" %.*s", n, labels) : printf("    %.*s", n, labels);
        labels += n;
        if (*labels) {
            column += printf(",");
            labels += 2;
        }
    }
    (void)printf("\n");
}

static void print_table(void)
{
    static const char *const heads[] = {
        [PROMPT_RANK_GROUND] = "What things stand or lie on: the first of the labels that is here decides.",
        [PROMPT_RANK_VAGUE] = "Without one of those: a floor of some kind.",
        [PROMPT_RANK_BEHIND] = "Without one of those: what is behind.",
    };
    const struct prompt_surface *s = prompt_table_at(0);
    int last = -1;

    (void)printf("Without labels, or with labels that are not in this table:\n\n%s\n", s->prompt);
    for (int i = 1; (s = prompt_table_at(i)); last = (int)s->rank, i++) {
        if ((int)s->rank != last)
            (void)printf("\n%s\n", heads[s->rank]);
        (void)printf("\n%s\n", s->prompt);
        print_labels(s->labels);
    }
}

int cmd_prompts(int argc, char **argv)
{
    bool plain = false;
    const struct cli_option options[] = {
        { "--plain", CLI_FLAG, &plain, NULL,
          .help = "only the prompts, one on each line, the one for unknown labels first: what `embed --pack --prompts` "
                  "takes" },
    };
    const struct cli_command command = { "prompts", "prints which label of a scene leads to which prompt", options,
                                         .n_options = CLI_COUNT(options) };
    int status = cli_parse(&command, argc, argv);

    if (status != CLI_RUN)
        return status;
    for (int i = 0; plain && prompt_table_at(i); i++)
        (void)printf("%s\n", prompt_table_at(i)->prompt);
    if (!plain)
        print_table();
    return CLI_DONE;
}
