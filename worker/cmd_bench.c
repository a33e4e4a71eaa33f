/* cmd_bench - how fast the parts of a job are on this machine, with random weights of the real sizes. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "models/bench.h"
#include "models/bench_load.h"
#include "models/bench_picture.h"
#include "models/bench_text.h"
#include "models/image/image.h"
#include "models/random_file.h"
#include "worker/cli.h"
#include "worker/commands.h"

enum { MODEL_SIDE_MAX = 4096 };
enum what { WHAT_BLOCK, WHAT_VAE, WHAT_STEP, WHAT_TEXT, WHAT_LOAD, WHAT_PICTURE };
static const char *const whats[] = { "block", "vae", "step", "text", "load", "picture", NULL };

/* In the order of quants. */
static const enum dtype quant_types[] = {
    DT_Q8_0, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_Q4_0, DT_Q5_0, DT_BF16, DT_F16, DT_F32
};
static const char *const quants[] = { "Q8_0", "Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q5_0", "BF16", "F16", "F32", NULL };

/* In the order of enum weight_mode. */
static const char *const weight_modes[] = { "auto", "dequant", "stream", NULL };

/* In the order of enum library_use. */
static const char *const libraries[] = { "auto", "never", "always", NULL };

static void print_processor(void)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");

    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');

        if (colon && strncmp(line, "model name", 10) == 0) {
            (void)printf("processor     %s", colon + 2);
            break;
        }
    }
    if (f)
        (void)fclose(f);
}

static void print_figure(const char *name, const struct bench_figure *f)
{
    if (f->seconds == 0)
        return;
    (void)printf("%-12s  %9.1f ms", name, f->seconds * 1e3);
    if (f->flop > 0)
        (void)printf("  %9.1f GFLOP  %8.1f GFLOP/s", f->flop * 1e-9, f->flop * 1e-9 / f->seconds);
    (void)printf("\n");
}

static double rate(const struct bench_figure *f)
{
    return f->seconds > 0 ? f->flop / f->seconds : 0;
}

static enum err_code run_block(const struct bench_options *o, struct err *err)
{
    struct bench_blocks b = { 0 };
    enum err_code rc = bench_blocks(o, &b, err);
    struct bench_figure both = { b.double_block.seconds + b.single_block.seconds,
                                 b.double_block.flop + b.single_block.flop };

    if (rc)
        return rc;
    print_figure("double block", &b.double_block);
    print_figure("single block", &b.single_block);
    print_figure("both", &both);
    print_figure("product", &b.product);
    if (b.product.seconds > 0)
        (void)printf("blocks run at %.2f of the speed of a plain product\n", rate(&both) / rate(&b.product));
    return ERR_OK;
}

static enum err_code run_vae(const struct bench_options *o, struct err *err)
{
    struct bench_vae b = { 0 };
    enum err_code rc = bench_vae(o, &b, err);

    if (rc)
        return rc;
    print_figure("encode", &b.encode);
    print_figure("decode", &b.decode);
    (void)printf("step arena    %9.1f MiB\n", (double)b.step_bytes / 1048576);
    return ERR_OK;
}

static void print_device_memory(size_t bytes)
{
    if (bytes)
        (void)printf("device memory %9.1f MiB\n", (double)bytes / 1048576);
}

static enum err_code run_step(const struct bench_options *o, struct err *err)
{
    static const char *const kinds[BENCH_KINDS] = { "  products", "  attention", "  rest" };
    struct bench_step b = { 0 };
    enum err_code rc = bench_step(o, &b, err);

    if (rc)
        return rc;
    print_figure("load", &b.load);
    print_figure("step", &b.step);
    for (int i = 0; i < BENCH_KINDS; i++)
        print_figure(kinds[i], &b.kinds[i]);
    if (b.queueing.seconds > 0)
        (void)printf("the host queues a step in %.1f ms, the device runs it in %.1f ms\n", b.queueing.seconds * 1e3,
                     b.device.seconds * 1e3);
    print_figure("product", &b.product);
    (void)printf("%.2f TFLOP/s, %.2f of the product's\n", rate(&b.step) * 1e-12, rate(&b.step) / rate(&b.product));
    (void)printf("weights %.2f GB, arenas of the job %.2f GB, of a step %.2f GB\n", (double)b.weight_bytes * 1e-9,
                 (double)b.job_bytes * 1e-9, (double)b.step_bytes * 1e-9);
    print_device_memory(b.device_bytes);
    return ERR_OK;
}

static enum err_code run_text(const struct bench_options *o, struct err *err)
{
    struct bench_text b = { 0 };
    enum err_code rc = bench_text(o, &b, err);

    if (rc)
        return rc;
    if (b.t5_layers < BENCH_T5_LAYERS || b.clip_layers < BENCH_CLIP_LAYERS)
        (void)printf("layers: %d of %d of T5, %d of %d of CLIP\n", b.t5_layers, BENCH_T5_LAYERS, b.clip_layers,
                     BENCH_CLIP_LAYERS);
    print_figure("load", &b.load);
    print_figure("T5", &b.t5);
    print_figure("CLIP", &b.clip);
    print_figure("product", &b.product);
    (void)printf("T5 %.2f TFLOP/s, %.2f of the product's\n", rate(&b.t5) * 1e-12, rate(&b.t5) / rate(&b.product));
    (void)printf("weights %.2f GB, arena of a step %.2f GB\n", (double)b.weight_bytes * 1e-9,
                 (double)b.step_bytes * 1e-9);
    print_device_memory(b.device_bytes);
    return ERR_OK;
}

static enum err_code run(enum what what, const struct cli_backend *backend, enum library_use library,
                         struct bench_options *o, struct err *err)
{
    static enum err_code (*const runs[])(const struct bench_options *, struct err *) = { run_block, run_vae, run_step,
                                                                                         run_text };
    struct rusage usage = { 0 };
    enum err_code rc = cli_backend_open(backend, &o->be, err);

    if (rc)
        return rc;
    print_processor();
    (void)printf("%s on %s, activations %s, best of %d", whats[what], o->be->name, dtype_info(o->be->act)->name,
                 o->repeats);
    if (what != WHAT_TEXT)
        (void)printf(", %d x %d pixels", o->width, o->height);
    if (what != WHAT_VAE)
        (void)printf(", %d text tokens, weights %s", o->n_txt, dtype_info(o->quant)->name);
    (void)printf("\n");
    backend_use_library(o->be, library);
    rc = runs[what](o, err);
    if (o->be->refused.shapes)
        (void)printf("refused       %lld shapes of products by the library, %lld products by plain loops\n",
                     (long long)o->be->refused.shapes, (long long)o->be->refused.plain_runs);
    if (!rc && *backend_describe(o->be))
        (void)printf("%s\n", backend_describe(o->be));
    (void)getrusage(RUSAGE_SELF, &usage);
    if (!rc)
        (void)printf("peak memory   %9.1f MiB\n", (double)usage.ru_maxrss / 1024);
    backend_close(o->be);
    return rc;
}

static void print_rate(const char *name, int64_t bytes, double seconds)
{
    (void)printf("%-28s %8.2f s %8.0f MB/s\n", name, seconds, 1e-6 * (double)bytes / seconds);
}

struct load_options {
    const char *file;
    bool random; /* in place of a file: one of so many GB */
    int gigabytes;
    enum dtype quant;
    enum weight_mode weights;
    const struct cli_backend *backend;
};

/* A file that holds no tensors is read, and not loaded. */
static enum err_code load_model(const char *path, const struct load_options *o, double read_rate, struct err *err)
{
    struct bench_load_model b = { 0 };
    struct err why = { 0 };
    struct backend *be = NULL;
    enum err_code rc = cli_backend_open(o->backend, &be, err);

    if (rc)
        return rc;
    rc = bench_load_model(path, be, o->weights, &b, &why);
    if (rc == ERR_UNSUPPORTED)
        (void)printf("not loaded: %s\n", why.msg);
    else if (rc)
        rc = err_set(err, rc, "%s", why.msg);
    else {
        print_rate("by the loader", b.bytes, b.seconds);
        (void)printf("%d matrices into %s at %.2f of the speed of the faster plain read\n", b.n_matrices, be->name,
                     (double)b.bytes / b.seconds / read_rate);
        (void)printf("host memory   %9.1f MiB without the file's pages\n", (double)b.own_bytes / 1048576);
        print_device_memory((size_t)b.device_bytes);
    }
    backend_close(be);
    return rc == ERR_UNSUPPORTED ? ERR_OK : rc;
}

static enum err_code load_file(const char *path, const struct load_options *o, struct err *err)
{
    struct bench_load b = { 0 };
    struct rusage usage = { 0 };
    enum err_code rc = bench_load(path, &b, err);

    if (rc)
        return rc;
    (void)printf("%s, %.2f GB, each time forgotten before\n", o->random ? "random file" : path, 1e-9 * (double)b.bytes);
    print_rate("plain read, before", b.bytes, b.read_seconds[0]);
    print_rate("mapping, page by page", b.bytes, b.touch_seconds);
    print_rate("mapping, as a model loads", b.bytes, b.mapped_seconds);
    print_rate("plain read, after", b.bytes, b.read_seconds[1]);
    rc = load_model(path, o, (double)b.bytes / bench_load_read_seconds(&b), err);
    (void)getrusage(RUSAGE_SELF, &usage);
    if (!rc)
        (void)printf("peak memory   %9.1f MiB with them\n", (double)usage.ru_maxrss / 1024);
    return rc;
}

static int run_load(const struct load_options *o)
{
    char path[RANDOM_FILE_PATH];
    struct err err = { 0 };
    enum err_code rc;
    int fd = -1;

    if (o->random == (o->file != NULL)) {
        (void)fprintf(stderr, "inpaint-worker bench: load needs --file or --random\n");
        return CLI_USAGE;
    }
    if (!o->random)
        return load_file(o->file, o, &err) ? cli_fail("bench", &err) : CLI_DONE;
    rc = random_file_open(o->quant, (int64_t)o->gigabytes * 1000000000, path, &fd, &err);
    if (!rc)
        rc = load_file(path, o, &err);
    if (fd >= 0)
        (void)close(fd);
    return rc ? cli_fail("bench", &err) : CLI_DONE;
}

static int run_picture(const struct bench_picture_options *o)
{
    struct bench_picture b = { 0 };
    struct rusage usage = { 0 };
    struct err err = { 0 };

    print_processor();
    if (bench_picture(o, &b, &err))
        return cli_fail("bench", &err);
    (void)printf("picture, %d x %d pixels%s, painted at %d x %d, best of %d\n", o->width, o->height,
                 o->turned ? ", turned" : "", b.paint_width, b.paint_height, o->repeats);
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
    struct cli_backend backend = { 0 };
    struct bench_options o = { .width = 256, .height = 256, .repeats = 5 };
    int what = WHAT_BLOCK, quant = 0, weights = WEIGHTS_AUTO, library = LIBRARY_AUTO, gigabytes = 2;
    const char *file = NULL;
    bool random = false, turned = false;
    const struct cli_option options[] = {
        { "WHAT", CLI_CHOICE, &what, NULL, .choices = whats, .required = true,
          .help =
              "two blocks of the transformer, the autoencoder, a denoising step, the text encoders, loading a file, or "
              "a job's pictures" },
        { "--file", CLI_TEXT, &file, "F",
          .help = "with load: which; a GGUF or safetensors goes into the backend, too" },
        { "--width", CLI_INT, &o.width, "W", .help = "pixels (256)", .min = 16, .max = IMAGE_MAX_SIDE },
        { "--height", CLI_INT, &o.height, "H", .help = "pixels (256)", .min = 16, .max = IMAGE_MAX_SIDE },
        { "--turned", CLI_FLAG, &turned, .help = "with picture: on its side, as phones store it" },
        { "--txt", CLI_INT, &o.n_txt, "N", .help = "text tokens (256; with text 512)", .min = 1, .max = 512 },
        { "--layers", CLI_INT, &o.max_layers, "N", .help = "with text: of each encoder at most (all)", .min = 1,
          .max = BENCH_T5_LAYERS },
        { "--quant", CLI_CHOICE, &quant, .choices = quants,
          .help = "type of the transformer's, T5's or the random file's matrices" },
        { "--weights", CLI_CHOICE, &weights, .choices = weight_modes,
          .help = "how a GPU keeps them: as fits (auto), as bf16, or as in the file" },
        { "--library", CLI_CHOICE, &library, .choices = libraries,
          .help = "cuDNN where it should be faster (auto), never, or for whatever it can do" },
        { "--repeats", CLI_INT, &o.repeats, "N", .help = "runs, the best of which counts (5)", .min = 1, .max = 1000 },
        { "--random", CLI_FLAG, &random,
          .help = "random weights, the only kind; with load: a file of them in $TMPDIR" },
        { "--gb", CLI_INT, &gigabytes, "N", .help = "with load --random: its size (2)", .min = 1, .max = 64 },
        CLI_BACKEND_OPTIONS(backend),
    };
    const struct cli_command command = { "bench", "measures the parts of a job on random weights", options,
                                         CLI_COUNT(options) };
    struct err err = { 0 };
    int status = cli_parse(&command, argc, argv);

    if (status != CLI_RUN)
        return status;
    if (what == WHAT_LOAD)
        return run_load(
            &(struct load_options){ file, random, gigabytes, quant_types[quant], (enum weight_mode)weights, &backend });
    if (what == WHAT_PICTURE)
        return run_picture(&(struct bench_picture_options){ o.width, o.height, turned, o.repeats });
    if (o.width % 16 || o.height % 16 || o.width > MODEL_SIDE_MAX || o.height > MODEL_SIDE_MAX) {
        (void)fprintf(stderr, "inpaint-worker bench: --width and --height take multiples of 16 up to %d\n",
                      MODEL_SIDE_MAX);
        return CLI_USAGE;
    }
    if (!o.n_txt)
        o.n_txt = what == WHAT_TEXT ? 512 : 256;
    o.quant = quant_types[quant];
    o.weights = (enum weight_mode)weights;
    return run((enum what)what, &backend, (enum library_use)library, &o, &err) ? cli_fail("bench", &err) : CLI_DONE;
}
