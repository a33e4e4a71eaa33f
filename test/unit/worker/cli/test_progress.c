#include "worker/cli/progress.h"

#include <stdlib.h>

#include "test/support/check.h"

TEST(progress__writes_a_line_every_ten_per_cent)
{
    struct progress p;
    size_t size = 0;
    char *text = NULL;
    FILE *to = open_memstream(&text, &size);

    progress_init(&p, to, false);
    for (int i = 0; i <= 28; i++)
        progress_show(&p, "denoise", i, 28);
    progress_show(&p, "decode", 1, 1);
    progress_done(&p);
    (void)fclose(to);
    CHECK_STR(text, "denoise 0 %\ndenoise 10 %\ndenoise 20 %\ndenoise 30 %\ndenoise 40 %\ndenoise 50 %\n"
                    "denoise 60 %\ndenoise 70 %\ndenoise 80 %\ndenoise 90 %\ndenoise 100 %\ndecode 100 %\n");
    free(text);
}

TEST(progress__ends_the_line_of_an_unfinished_bar)
{
    struct progress p;
    size_t size = 0;
    char *text = NULL;
    FILE *to = open_memstream(&text, &size);

    progress_init(&p, to, true);
    progress_show(&p, "load", 1, 2);
    progress_done(&p);
    progress_done(&p);
    (void)fclose(to);
    CHECK_STR(text, "\rload         [####################....................]  50 %\n");
    free(text);
}
