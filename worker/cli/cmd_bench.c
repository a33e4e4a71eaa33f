/* cmd_bench - measures the parts of a job on this machine, with random weights of the real sizes. */
#include <stdio.h>
#include <sys/resource.h>

#include "worker/cli/bench_command.h"
#include "worker/cli/commands.h"

static void print_crop(const struct crop *c)
{
    (void)printf("crop of %d x %d pixels, painted at %d x %d: scale %.3f, %d tokens\n", box_width(c->box),
                 box_height(c->box), c->fill_width, c->fill_height, c->scale, crop_tokens(c));
}

static enum err_code run_picture(const struct bench_picture_options *o, struct err *err)
{
    struct bench_picture b = { 0 };
    struct rusage usage = { 0 };

    bench_print_processor();
    TRY(bench_picture(o, &b, err));
    (void)printf("picture, %d x %d pixels%s, best of %d\n", o->width, o->height,
                 o->turned ? ", stored on its side" : "", o->repeats);
    for (int i = 0; i < b.plan.n; i++)
        print_crop(&b.plan.crops[i]);
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
    return ERR_OK;
}

int cmd_bench(int argc, char **argv)
{
    return bench_command(&(struct bench_command){ .name = "bench", .picture = run_picture }, argc, argv);
}
