#include "worker/cli/output.h"

#include <stdio.h>
#include <sys/stat.h>

void output_wrote(const char *path, int width, int height)
{
    struct stat st = { 0 };

    (void)printf("wrote %s", path);
    if (width > 0)
        (void)printf(", %d x %d pixels", width, height);
    if (stat(path, &st) == 0)
        (void)printf(", %lld bytes", (long long)st.st_size);
    (void)printf("\n");
}
