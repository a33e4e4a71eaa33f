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
#include "models/fill/fill.h"
#include "models/image/image.h"
#include "models/bench/random_file.h"
#include "worker/cli/cli.h"

/* The last is left out where there are no pictures. */
enum what { WHAT_BLOCK, WHAT_VAE, WHAT_STEP, WHAT_TEXT, WHAT_RATES, WHAT_LOAD, WHAT_PICTURE };
static const char *const whats[] = { "block", "vae", "step", "text", "rates", "load", "picture", NULL };
static const char *const whats_of_a_card[] = { "block", "vae", "step", "text", "rates", "load", NULL };

/* In the order of quants. */
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

/* How often, how much the runs differ, and on a card what it did meanwhile. */
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
    (void)printf("%s\n", isnan(card.power_w) ? "; clock and watts are unknown: no libnvidia-ml.so.1 here" : "");
}

/* --- networks --- */

static enum err_code run_block(const struct bench_options *o, struct err *err)
{
    struct bench_blocks b = { 0 };
    enum err_code rc = bench_blocks(o, &b, err);
    struct bench_figure both = { .n_runs = 1,
                                 .least = bench_seconds(&b.double_block) + bench_seconds(&b.single_block),
                                 .flop = b.double_block.flop + b.single_block.flop };

    if (rc)
        return rc;
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
    enum err_code rc = bench_vae(o, &b, err);

    if (rc)
        return rc;
    print_figure("encode", &b.encode);
    print_figure("decode", &b.decode);
    (void)printf("step arena    %9.1f MiB\n", (double)b.step_bytes / 1048576);
    return ERR_OK;
}

/* What a step takes longer with expanding than without was not hidden. */
static void print_expanding(const struct bench_step *b)
{
    double alone = bench_seconds(&b->expanding), shown = bench_seconds(&b->step) - bench_seconds(&b->without_expanding);

    if (!b->expanding.n_runs)
        return;
    print_figure("expanding", &b->expanding);
    print_figure("step without", &b->without_expanding);
    (void)printf("of %.1f ms of expanding %.1f ms show in a step: %.0f %% are hidden behind products\n", alone * 1e3,
                 shown * 1e3, 100 * fmin(1, fmax(0, 1 - shown / alone)));
}

static enum err_code run_step(const struct bench_options *o, struct err *err)
{
    static const char *const kinds[BENCH_KINDS] = { "  products", "  attention", "  rest" };
    struct bench_step b = { 0 };
    enum err_code rc = bench_step(o, &b, err);

    if (rc)
        return rc;
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
    (void)printf("weights %.2f GB, arenas of the job %.2f GB, of a step %.2f GB\n", (double)b.weight_bytes * 1e-9,
                 (double)b.request_bytes * 1e-9, (double)b.step_bytes * 1e-9);
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

/* A card's rates do not say how a network runs on it, but how fast it may. */
static void print_rate_of(enum rate_kind kind, const struct bench_rates *b)
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
        print_rate_of((enum rate_kind)i, &b);
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

static enum err_code run(enum what what, const struct cli_backend *backend, enum library_use library,
                         struct bench_options *o, struct err *err)
{
    static enum err_code (*const runs[])(const struct bench_options *, struct err *) = { run_block, run_vae, run_step,
                                                                                         run_text, run_rates };
    struct rusage usage = { 0 };
    enum err_code rc = cli_backend_open(backend, &o->be, err);

    if (rc)
        return rc;
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
    if (!rc && *backend_describe(o->be))
        (void)printf("%s\n", backend_describe(o->be));
    (void)getrusage(RUSAGE_SELF, &usage);
    if (!rc)
        (void)printf("peak memory   %9.1f MiB\n", (double)usage.ru_maxrss / 1024);
    backend_close(o->be);
    return rc;
}

/* --- loading --- */

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

static int run_load(const struct cli_command *c, const struct load_options *o)
{
    char path[RANDOM_FILE_PATH];
    struct err err = { 0 };
    enum err_code rc;
    int fd = -1;

    if (o->random == (o->file != NULL)) {
        return cli_misused(c, "load needs --file or --random");
    }
    if (!o->random)
        return load_file(o->file, o, &err) ? cli_command_failed(c, &err) : CLI_DONE;
    rc = random_file_open(o->quant, (int64_t)o->gigabytes * 1000000000, path, &fd, &err);
    if (!rc)
        rc = load_file(path, o, &err);
    if (fd >= 0)
        (void)close(fd);
    return rc ? cli_command_failed(c, &err) : CLI_DONE;
}

/* --- the command --- */

#define WHATS "block|vae|step|text|rates|load"
#define WHATS_HELP                                                                                              \
    "two blocks of the transformer, the autoencoder, a denoising step, the text encoders, a card's own rates, " \
    "loading a file"

struct args {
    struct bench_options o;
    struct cli_backend backend;
    int what, quant, weights, library, gigabytes;
    const char *file;
    bool random, turned;
};

static int check_sizes(const struct cli_command *c, const struct args *a)
{
    const struct bench_options *o = &a->o;
    char text[80];

    if (a->what == WHAT_PICTURE || (o->width % TOKEN_SIDE == 0 && o->height % TOKEN_SIDE == 0 &&
                                    o->width <= FILL_MAX_SIDE && o->height <= FILL_MAX_SIDE))
        return CLI_RUN;
    (void)snprintf(text, sizeof text, "--width and --height take multiples of %d up to %d", TOKEN_SIDE, FILL_MAX_SIDE);
    return cli_misused(c, text);
}

static int run_args(const struct bench_command *self, const struct cli_command *c, struct args *a)
{
    struct err err = { 0 };
    int status = check_sizes(c, a);

    if (status != CLI_RUN)
        return status;
    if (a->what == WHAT_LOAD)
        return run_load(c, &(struct load_options){ a->file, a->random, a->gigabytes, quant_types[a->quant],
                                                   (enum weight_mode)a->weights, &a->backend });
    if (a->what == WHAT_PICTURE)
        return self->picture(a->o.width, a->o.height, a->turned, a->o.repeats);
    if (!a->o.n_txt)
        a->o.n_txt = a->what == WHAT_TEXT ? 512 : 256;
    if (a->o.measure_s < 0)
        a->o.measure_s = a->what == WHAT_RATES ? 10 : 3;
    a->o.quant = quant_types[a->quant];
    a->o.weights = (enum weight_mode)a->weights;
    if (run((enum what)a->what, &a->backend, (enum library_use)a->library, &a->o, &err))
        return cli_command_failed(c, &err);
    return CLI_DONE;
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
        { self->picture ? WHATS "|picture" : WHATS, CLI_CHOICE, &a.what, NULL,
          .choices = self->picture ? whats : whats_of_a_card, .required = true,
          .help = self->picture ? WHATS_HELP ", or a job's pictures" : WHATS_HELP },
        { "--file", CLI_TEXT, &a.file, "F",
          .help = "with load: which; a GGUF or safetensors goes into the backend, too" },
        { "--width", CLI_INT, &a.o.width, "W", .help = "pixels (256)", .min = TOKEN_SIDE, .max = IMAGE_MAX_SIDE },
        { "--height", CLI_INT, &a.o.height, "H", .help = "pixels (256)", .min = TOKEN_SIDE, .max = IMAGE_MAX_SIDE },
        { "--txt", CLI_INT, &a.o.n_txt, "N", .help = "text tokens (256; with text 512)", .min = 1, .max = 512 },
        { "--layers", CLI_INT, &a.o.max_layers, "N",
          .help = "with text: of each encoder, with step: blocks of each kind, at most (all)", .min = 1,
          .max = BENCH_T5_LAYERS },
        { "--quant", CLI_CHOICE, &a.quant, .choices = quants,
          .help = "type of the transformer's, T5's or the random file's matrices" },
        { "--weights", CLI_CHOICE, &a.weights, .choices = weight_modes,
          .help = "how a GPU keeps them: as fits (auto), as bf16, or as in the file" },
        { "--library", CLI_CHOICE, &a.library, .choices = libraries,
          .help = "cuDNN where it should be faster (auto), never, or for whatever it can do" },
        { "--repeats", CLI_INT, &a.o.repeats, "N", .help = "runs that count (5): all on a GPU, elsewhere the best",
          .min = 1, .max = 1000 },
        { "--warm-up", CLI_NUMBER, &a.o.warm_up_s, "S", .help = "on a GPU: seconds before any run counts (5)", .min = 0,
          .max = 600 },
        { "--seconds", CLI_NUMBER, &a.o.measure_s, "S",
          .help = "on a GPU: of runs that count, at least (3; with rates 10)", .min = 0, .max = 600 },
        { "--random", CLI_FLAG, &a.random,
          .help = "random weights, the only kind; with load: a file of them in $TMPDIR" },
        { "--gb", CLI_INT, &a.gigabytes, "N", .help = "with load --random: its size (2)", .min = 1, .max = 64 },
        CLI_BACKEND_OPTIONS(a.backend),
        { "--turned", CLI_FLAG, &a.turned, .help = "with picture: on its side, as phones store it" }, /* the last */
    };
    const struct cli_command command = { self->name, "measures the parts of a job on random weights", options,
                                         .n_options = CLI_COUNT(options) - !self->picture,
                                         .is_program = self->is_program };
    int status = cli_parse(&command, argc, argv);

    return status == CLI_RUN ? run_args(self, &command, &a) : status;
}
