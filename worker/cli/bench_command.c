#include "worker/cli/bench_command.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "models/bench/bench.h"
#include "models/bench/bench_load.h"
#include "models/bench/bench_rates.h"
#include "models/bench/bench_text.h"
#include "models/bench/random_file.h"
#include "models/fill/fill.h"
#include "models/image/image.h"
#include "models/text/text_limits.h"
#include "worker/cli/cli.h"

/* WHAT_PICTURE is the last, because gpu-bench lacks it. */
enum what { WHAT_BLOCK, WHAT_VAE, WHAT_STEP, WHAT_TEXT, WHAT_RATES, WHAT_LOAD, WHAT_PICTURE };
static const char *const whats[] = { "block", "vae", "step", "text", "rates", "load", "picture", NULL };
static const char *const whats_without_picture[] = { "block", "vae", "step", "text", "rates", "load", NULL };

/* The type of each word in `quants`. */
static const enum dtype quant_types[] = {
    DT_Q8_0, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_Q4_0, DT_Q5_0, DT_BF16, DT_F16, DT_F32
};
static const char *const quants[] = { "Q8_0", "Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q5_0", "BF16", "F16", "F32", NULL };

/* In the order of enum weight_mode. */
static const char *const weight_modes[] = { "auto", "dequant", "stream", NULL };

/* In the order of enum library_use. */
static const char *const libraries[] = { "auto", "never", "always", NULL };

void bench_print_processor(void)
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

/* --- figures --- */

/* Prints how many runs there were and how much they differ; on a card also its clock and power during the runs. */
static void print_spread(const struct bench_figure *f)
{
    (void)printf("  +- %.2f ms (%d runs, %.1f to %.1f)", bench_deviation(f) * 1e3, f->n_runs, f->least * 1e3,
                 f->most * 1e3);
    if (f->clock_mhz > 0)
        (void)printf("  %.0f MHz", f->clock_mhz);
    if (f->power_w > 0)
        (void)printf("  %.0f W", f->power_w);
}

static double rate(const struct bench_figure *f)
{
    return f->n_runs ? f->flop / bench_seconds(f) : 0;
}

static void print_figure(const char *name, const struct bench_figure *f)
{
    if (!f->n_runs)
        return;
    (void)printf("%-12s  %9.1f ms", name, bench_seconds(f) * 1e3);
    if (f->flop > 0)
        (void)printf("  %9.1f GFLOP  %8.1f GFLOP/s", f->flop * 1e-9, rate(f) * 1e-9);
    if (f->n_runs > 1 && f->by_mean)
        print_spread(f);
    else if (f->n_runs > 1)
        (void)printf("  best of %d", f->n_runs);
    (void)printf("\n");
}

static void print_device_memory(size_t bytes)
{
    if (bytes)
        (void)printf("device memory %9.1f MiB\n", (double)bytes / 1048576);
}

static void print_card(struct backend *be)
{
    struct backend_card card;

    if (!backend_card(be, &card))
        return;
    (void)printf("card          %s, driver %s, %s", card.name, card.driver[0] ? card.driver : "unknown",
                 card.libraries);
    if (card.power_limit_w > 0)
        (void)printf(", at most %.0f W", card.power_limit_w);
    if (card.temperature_c > 0)
        (void)printf(", %.0f C", card.temperature_c);
    (void)printf("%s\n", isnan(card.power_w) ? "; its clock and power are unknown: libnvidia-ml.so.1 is missing" : "");
}

/* --- networks --- */

static enum err_code run_block(const struct bench_options *o, struct err *err)
{
    struct bench_blocks b = { 0 };
    struct bench_figure both = { .n_runs = 1 };

    TRY(bench_blocks(o, &b, err));
    both.least = bench_seconds(&b.double_block) + bench_seconds(&b.single_block);
    both.flop = b.double_block.flop + b.single_block.flop;
    print_figure("double block", &b.double_block);
    print_figure("single block", &b.single_block);
    print_figure("both", &both);
    print_figure("product", &b.product);
    if (b.product.n_runs)
        (void)printf("blocks run at %.2f of the speed of a plain product\n", rate(&both) / rate(&b.product));
    return ERR_OK;
}

static enum err_code run_vae(const struct bench_options *o, struct err *err)
{
    struct bench_vae b = { 0 };

    TRY(bench_vae(o, &b, err));
    print_figure("encode", &b.encode);
    print_figure("decode", &b.decode);
    (void)printf("step arena    %9.1f MiB\n", (double)b.step_bytes / 1048576);
    return ERR_OK;
}

/* Weights are expanded while products run. The time that this overlap does not hide is the difference between a step
 * with expanding and one without. */
static void print_expanding(const struct bench_step *b)
{
    double alone = bench_seconds(&b->expanding), shown = bench_seconds(&b->step) - bench_seconds(&b->without_expanding);

    if (!b->expanding.n_runs)
        return;
    print_figure("expanding", &b->expanding);
    print_figure("step without", &b->without_expanding);
    (void)printf("of %.1f ms of expanding %.1f ms lengthen a step: %.0f %% are hidden behind products\n", alone * 1e3,
                 shown * 1e3, 100 * fmin(1, fmax(0, 1 - shown / alone)));
}

static enum err_code run_step(const struct bench_options *o, struct err *err)
{
    static const char *const kinds[BENCH_KINDS] = { "  products", "  attention", "  rest" };
    struct bench_step b = { 0 };

    TRY(bench_step(o, &b, err));
    print_figure("load", &b.load);
    print_figure("prepare", &b.prepare);
    print_figure("step", &b.step);
    for (int i = 0; i < BENCH_KINDS; i++)
        print_figure(kinds[i], &b.kinds[i]);
    if (b.queueing.n_runs)
        (void)printf("the host queues a step in %.1f ms, the device runs it in %.1f ms\n",
                     bench_seconds(&b.queueing) * 1e3, bench_seconds(&b.step) * 1e3);
    print_expanding(&b);
    print_figure("product", &b.product);
    (void)printf("%.2f TFLOP/s, %.2f of the product's\n", rate(&b.step) * 1e-12, rate(&b.step) / rate(&b.product));
    (void)printf("weights %.2f GB, arenas of the request %.2f GB, of a step %.2f GB\n", (double)b.weight_bytes * 1e-9,
                 (double)b.request_bytes * 1e-9, (double)b.step_bytes * 1e-9);
    print_device_memory(b.device_bytes);
    return ERR_OK;
}

static enum err_code run_text(const struct bench_options *o, struct err *err)
{
    struct bench_text b = { 0 };

    TRY(bench_text(o, &b, err));
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

/* The measured rates of a card are upper limits for a network. */
static void print_device_rate(enum rate_kind kind, const struct bench_rates *b)
{
    const struct bench_figure *f = &b->kinds[kind];
    bool copy = kind == RATE_COPY;

    (void)printf("%-18s", bench_rate_name(kind));
    if (f->n_runs) {
        (void)printf("%7.1f %s  %8.2f ms", rate(f) * (copy ? 1e-9 : 1e-12), copy ? "GB/s " : "TOP/s",
                     bench_seconds(f) * 1e3);
        print_spread(f);
    } else {
        (void)printf("   none: %s", b->missing[kind]);
    }
    (void)printf("\n");
}

static enum err_code run_rates(const struct bench_options *o, struct err *err)
{
    struct bench_rates b;
    enum err_code rc = bench_rates(o, BENCH_RATES_SIDE, &b, err);

    for (int i = 0; i < RATE_KINDS && rc != ERR_UNAVAILABLE; i++)
        print_device_rate((enum rate_kind)i, &b);
    return rc;
}

static void print_what(enum what what, const struct bench_options *o)
{
    (void)printf("%s on %s, ", whats[what], o->be->name);
    if (what == WHAT_RATES)
        (void)printf("products of %d x %d matrices", BENCH_RATES_SIDE, BENCH_RATES_SIDE);
    else
        (void)printf("activations %s", dtype_info(o->be->act)->name);
    if (o->be->runs_behind)
        (void)printf(", means of %d runs at least, after %.0f s", o->repeats, o->warm_up_s);
    if (what != WHAT_TEXT && what != WHAT_RATES)
        (void)printf(", %d x %d pixels", o->width, o->height);
    if (what != WHAT_VAE && what != WHAT_RATES)
        (void)printf(", %d text tokens, weights %s", o->n_txt, dtype_info(o->quant)->name);
    (void)printf("\n");
}

static void print_peak_memory(const char *remark)
{
    struct rusage usage = { 0 };

    (void)getrusage(RUSAGE_SELF, &usage);
    (void)printf("peak memory   %9.1f MiB%s\n", (double)usage.ru_maxrss / 1024, remark);
}

static enum err_code run_on_backend(enum what what, enum library_use library, struct bench_options *o, struct err *err)
{
    static enum err_code (*const runs[])(const struct bench_options *, struct err *) = { run_block, run_vae, run_step,
                                                                                         run_text, run_rates };
    enum err_code rc;

    if (!o->be->runs_behind)
        o->warm_up_s = o->measure_s = 0;
    bench_print_processor();
    print_card(o->be);
    print_what(what, o);
    backend_use_library(o->be, library);
    rc = runs[what](o, err);
    if (o->be->refused.shapes)
        (void)printf("refused       %lld shapes of products by the library, %lld products by plain loops\n",
                     (long long)o->be->refused.shapes, (long long)o->be->refused.plain_runs);
    TRY(rc);
    if (*backend_describe(o->be))
        (void)printf("%s\n", backend_describe(o->be));
    print_peak_memory("");
    return ERR_OK;
}

static enum err_code run(enum what what, const struct cli_backend *backend, enum library_use library,
                         struct bench_options *o, struct err *err)
{
    enum err_code rc;

    TRY(cli_backend_open(backend, &o->be, err));
    rc = run_on_backend(what, library, o, err);
    backend_close(o->be);
    return rc;
}

/* --- loading --- */

static void print_rate(const char *name, int64_t bytes, double seconds)
{
    (void)printf("%-28s %8.2f s %8.0f MB/s\n", name, seconds, 1e-6 * (double)bytes / seconds);
}

struct load_options {
    const char *file; /* NULL: a file of random weights */
    int gigabytes;    /* size of that file */
    enum dtype quant; /* type of its matrices */
    enum weight_mode weights;
    const struct cli_backend *backend;
};

static void print_load_model(const struct bench_load_model *b, const struct backend *be, double read_rate)
{
    print_rate("by the loader", b->bytes, b->seconds);
    (void)printf("%d matrices into %s at %.2f of the speed of the faster plain read\n", b->n_matrices, be->name,
                 (double)b->bytes / b->seconds / read_rate);
    (void)printf("host memory   %9.1f MiB without the file's pages\n", (double)b->own_bytes / 1048576);
    print_device_memory((size_t)b->device_bytes);
}

/* A file without tensors is read only to measure the rate; it is not loaded into a backend. */
static enum err_code load_model(const char *path, const struct load_options *o, double read_rate, struct err *err)
{
    struct bench_load_model b = { 0 };
    struct err why = { 0 };
    struct backend *be = NULL;
    enum err_code rc;

    TRY(cli_backend_open(o->backend, &be, err));
    rc = bench_load_model(path, be, o->weights, &b, &why);
    if (rc == ERR_OK)
        print_load_model(&b, be, read_rate);
    else if (rc == ERR_UNSUPPORTED)
        (void)printf("not loaded: %s\n", why.msg);
    else
        (void)err_set(err, rc, "%s", why.msg);
    backend_close(be);
    return rc == ERR_UNSUPPORTED ? ERR_OK : rc;
}

static enum err_code load_file(const char *path, const struct load_options *o, struct err *err)
{
    struct bench_load b = { 0 };

    TRY(bench_load(path, &b, err));
    (void)printf("%s, %.2f GB, dropped from the page cache before each measurement\n", o->file ? path : "random file",
                 1e-9 * (double)b.bytes);
    print_rate("plain read, before", b.bytes, b.read_seconds[0]);
    print_rate("mapping, page by page", b.bytes, b.touch_seconds);
    print_rate("mapping, as a model loads", b.bytes, b.mapped_seconds);
    print_rate("plain read, after", b.bytes, b.read_seconds[1]);
    TRY(load_model(path, o, (double)b.bytes / bench_load_read_seconds(&b), err));
    print_peak_memory(" with the file's pages");
    return ERR_OK;
}

static enum err_code run_load(const struct load_options *o, struct err *err)
{
    char path[RANDOM_FILE_PATH];
    enum err_code rc;
    int fd;

    if (o->file)
        return load_file(o->file, o, err);
    TRY(random_file_open(o->quant, (int64_t)o->gigabytes * 1000000000, path, &fd, err));
    rc = load_file(path, o, err);
    (void)close(fd);
    return rc;
}

/* --- the command --- */

#define WHATS_HELP                                                                                                  \
    "what to measure\n"                                                                                             \
    "block: two blocks of the transformer\nvae: the autoencoder\nstep: a denoising step\ntext: the text encoders\n" \
    "rates: the limits of a card\nload: loading a file"

struct args {
    struct bench_options o;
    struct cli_backend backend;
    int what, quant, weights, library, gigabytes;
    const char *file;
    bool random, turned;
};

static int check_usage(const struct cli_command *c, const struct args *a)
{
    const struct bench_options *o = &a->o;

    if (a->what == WHAT_LOAD && a->random == (a->file != NULL))
        return cli_misused(c, "load needs either --file or --random");
    if (a->what == WHAT_PICTURE)
        return CLI_RUN;
    if (o->width % TOKEN_SIDE || o->height % TOKEN_SIDE || o->width > FILL_MAX_SIDE || o->height > FILL_MAX_SIDE)
        return cli_misused(c, "--width and --height must be multiples of %d, at most %d", TOKEN_SIDE, FILL_MAX_SIDE);
    return CLI_RUN;
}

static enum err_code run_args(const struct bench_command *self, struct args *a, struct err *err)
{
    if (a->what == WHAT_LOAD)
        return run_load(&(struct load_options){ a->file, a->gigabytes, quant_types[a->quant],
                                                (enum weight_mode)a->weights, &a->backend },
                        err);
    if (a->what == WHAT_PICTURE)
        return self->picture(&(struct bench_picture_options){ .width = a->o.width,
                                                              .height = a->o.height,
                                                              .turned = a->turned,
                                                              .repeats = a->o.repeats,
                                                              .settings = { .patch_match = true } },
                             err);
    if (!a->o.n_txt)
        a->o.n_txt = a->what == WHAT_TEXT ? T5_MAX_TOKENS : 256;
    if (a->o.measure_s < 0)
        a->o.measure_s = a->what == WHAT_RATES ? 10 : 3;
    a->o.quant = quant_types[a->quant];
    a->o.weights = (enum weight_mode)a->weights;
    return run((enum what)a->what, &a->backend, (enum library_use)a->library, &a->o, err);
}

int bench_command(const struct bench_command *self, int argc, char **argv)
{
    struct args a = {
        .o = { .width = 256, .height = 256, .repeats = 5, .warm_up_s = 5, .measure_s = -1 },
        .weights = WEIGHTS_AUTO,
        .library = LIBRARY_AUTO,
        .gigabytes = 2,
    };
    const struct cli_option options[] = {
        { "WHAT", CLI_CHOICE, &a.what, NULL, .choices = self->picture ? whats : whats_without_picture, .required = true,
          .help = self->picture ? WHATS_HELP "\npicture: the pictures of a job" : WHATS_HELP },
        { "--width", CLI_INT, &a.o.width, "W",
          .help = "width of the picture in pixels, except with picture a multiple of 16 up to 4096; default 256",
          .min = TOKEN_SIDE, .max = IMAGE_MAX_SIDE },
        { "--height", CLI_INT, &a.o.height, "H",
          .help = "height of the picture in pixels, except with picture a multiple of 16 up to 4096; default 256",
          .min = TOKEN_SIDE, .max = IMAGE_MAX_SIDE },
        { "--txt", CLI_INT, &a.o.n_txt, "N", .help = "text tokens; default 256, with text 512", .min = 1,
          .max = T5_MAX_TOKENS },
        { "--layers", CLI_INT, &a.o.max_layers, "N",
          .help = "at most so many layers of each encoder (with text) or blocks of each kind (with step); default all",
          .min = 1, .max = BENCH_T5_LAYERS },
        { "--quant", CLI_CHOICE, &a.quant, .choices = quants,
          .help = "type of the matrices of the transformer, T5 or the random file; default Q8_0" },
        { "--weights", CLI_CHOICE, &a.weights, .choices = weight_modes,
          .help =
              "how a GPU keeps weights: dequant: as bf16; stream: as in the file; auto (default): as memory allows" },
        { "--library", CLI_CHOICE, &a.library, .choices = libraries,
          .help =
              "when to use cuDNN: auto (default): where it should be faster; never; always: wherever it can compute" },
        { "--repeats", CLI_INT, &a.o.repeats, "N",
          .help = "runs to measure, on a GPU at least; default 5; a GPU shows their mean, a CPU the shortest", .min = 1,
          .max = 1000 },
        { "--warm-up", CLI_NUMBER, &a.o.warm_up_s, "S",
          .help = "on a GPU: seconds of runs before those that are measured; default 5", .min = 0, .max = 600 },
        { "--seconds", CLI_NUMBER, &a.o.measure_s, "S",
          .help = "on a GPU: measure for at least so many seconds; default 3, with rates 10", .min = 0, .max = 600 },
        { "--file", CLI_TEXT, &a.file, "FILE",
          .help = "with load: the file to read; a GGUF or safetensors file is also loaded into the backend" },
        { "--random", CLI_FLAG, &a.random,
          .help = "with load: a file of random weights in $TMPDIR; otherwise accepted, for weights are always random" },
        { "--gb", CLI_INT, &a.gigabytes, "N", .help = "with load --random: size of that file in GB; default 2",
          .min = 1, .max = 64 },
        CLI_BACKEND_OPTIONS(a.backend),
        /* must be last: it is left out where there is no `bench picture` */
        { "--turned", CLI_FLAG, &a.turned, .help = "with picture: a photo stored on its side, as phones store it" },
    };
    const struct cli_command command = { self->name, "measures the parts of a job on random weights", options,
                                         .n_options = CLI_COUNT(options) - !self->picture,
                                         .is_program = self->is_program };
    int status = cli_parse(&command, argc, argv);
    struct err err = { 0 };

    if (status == CLI_RUN)
        status = check_usage(&command, &a);
    if (status != CLI_RUN)
        return status;
    return run_args(self, &a, &err) ? cli_fail(&command, &err) : CLI_DONE;
}
