/* cmd_bench - how fast the parts of a job are on this machine, with random weights of the real sizes. */
#include <stdio.h>
#include <sys/resource.h>

#include "models/bench/bench_picture.h"
#include "worker/cli/bench_command.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"

static int run_picture(int width_px, int height_px, bool turned, int repeats)
{
    const struct bench_picture_options o = { width_px, height_px, turned, repeats };
    struct bench_picture b = { 0 };
    struct rusage usage = { 0 };
    struct err err = { 0 };

    bench_print_processor();
    if (bench_picture(&o, &b, &err))
        return cli_fail("bench", &err);
    (void)printf("picture, %d x %d pixels%s, painted at %d x %d, best of %d\n", o.width, o.height,
                 o.turned ? ", turned" : "", b.paint_width, b.paint_height, o.repeats);
    for (int i = 0; i < b.n_lines; i++)
        (void)printf("%*s%-*s %8.2f ms\n", 2 * b.lines[i].depth, "", 36 - 2 * b.lines[i].depth, b.lines[i].name,
                     1e3 * b.lines[i].seconds);
    (void)printf("%-36s %8.2f ms\n", "a whole job", 1e3 * b.whole);
    (void)printf("files: original %.2f MB, mask %.2f MB, edited %.2f MB, preview %.2f MB; results' CRC-32C %08x\n",
                 1e-6 * (double)b.original_bytes, 1e-6 * (double)b.mask_bytes, 1e-6 * (double)b.edited_bytes,
                 1e-6 * (double)b.preview_bytes, b.checksum);
    (void)getrusage(RUSAGE_SELF, &usage);
    (void)printf("arena of a job %.1f MiB, peak memory %.1f MiB\n", (double)b.arena_bytes / 1048576,
                 (double)usage.ru_maxrss / 1024);
    return CLI_DONE;
}

int cmd_bench(int argc, char **argv)
{
    return bench_command(&(struct bench_command){ .name = "bench", .picture = run_picture }, argc, argv);
}
