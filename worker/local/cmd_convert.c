/*
 * cmd_convert - writes a transformer anew as one GGUF file of a chosen type: from a folder, an index, the parts of a
 * split file or a single file, with LoRAs merged into it.
 *
 * The file gets its name when it is whole. SIGINT and SIGTERM end the work after the piece at hand, and no file is left
 * behind; what a killed process leaves is named FILE.PID.N.tmp, and no reader takes it for a model.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "kernels/base/file.h"
#include "kernels/quantise.h"
#include "models/fill/lora_set.h"
#include "models/fill/model_folder.h"
#include "models/fill/self_check.h"
#include "worker/base/crypto.h"
#include "worker/base/sys.h"
#include "worker/cli/cli.h"
#include "worker/cli/commands.h"
#include "worker/cli/output.h"
#include "worker/cli/progress.h"
#include "worker/local/convert_notes.h"

#define LIST "list" /* in place of a type */

enum { CHECK_SIDE = 64 /* pixels: the picture of the self-check */, CHECK_T5_LEN = 64, MB = 1000000, GB = 1000 * MB };
static const size_t arena_bytes = (size_t)1 << 30; /* address space of each arena */

struct args {
    const char *in, *out, *models;
    int type; /* in `types` */
    struct cli_texts keeps, loras;
    bool force;
    int self_check;
};

enum { SELF_CHECK_AUTO, SELF_CHECK_OFF }; /* in the order of --self-check */

/* The types that can be written, and their names for the table of options. */
struct types {
    enum dtype type[DT_COUNT];
    const char *name[DT_COUNT + 2];
    int n;
};

struct run {
    struct arena arena, scratch;
    struct progress progress;
    struct convert_keep keeps[CLI_MAX_TEXTS];
    struct convert_options options;
    const char *input; /* path */
    struct shards inputs;
    struct weight_set set;
    struct fill_loras loras;
    struct lora_set merged;
    struct fill_lora merged_files[FILL_MAX_LORAS];
    struct convert_notes notes;
    struct convert_plan plan;
    struct crypto_sha256 *sha256; /* of the output, as it is written */
    struct err sha256_err;
    char digest[2 * CRYPTO_SHA256_BYTES + 1]; /* likewise */
    int64_t n_read, n_reading, n_to_read;     /* bytes of the inputs whose digests are taken; of the one at hand */
    int64_t began_ms;
    atomic_bool stopped;
};

/* ---- signals: blocked, and asked for where it is safe to end ---- */

/* SIGXFSZ, too: a file that grows too large is to be an error of the write. */
static sigset_t our_signals(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGXFSZ);
    return set;
}

static void take_signals(struct run *r)
{
    const struct timespec now = { 0 };
    const sigset_t set = our_signals();

    for (int n; (n = sigtimedwait(&set, NULL, &now)) > 0;)
        r->stopped = r->stopped || n != SIGXFSZ;
}

static bool is_stopped(void *ctx)
{
    take_signals(ctx);
    return ((struct run *)ctx)->stopped;
}

/* ---- options ---- */

static struct types find_types(void)
{
    struct types t = { 0 };

    for (int i = 0; i < DT_COUNT; i++)
        if (convert_can_write((enum dtype)i)) {
            t.type[t.n] = (enum dtype)i;
            t.name[t.n++] = dtype_info((enum dtype)i)->name;
        }
    t.name[t.n] = LIST;
    return t;
}

static bool read_keep(const char *text, struct arena *a, struct convert_keep *ret)
{
    const char *equals = strrchr(text, '=');
    enum dtype type = DT_COUNT;
    char *part = NULL;

    if (!equals || equals == text || !dtype_from_name(equals + 1, &type) || !quantise_supports(type) ||
        span_dup(a, (struct span){ text, (size_t)(equals - text) }, &part, NULL))
        return false;
    *ret = (struct convert_keep){ part, type };
    return true;
}

static int read_options(struct run *r, const struct args *a, const struct types *t, const struct cli_command *c)
{
    struct convert_types *types = &r->options.types;
    struct err err = { 0 };

    for (int i = 0; i < a->keeps.n; i++)
        if (!read_keep(a->keeps.items[i], &r->arena, &r->keeps[types->n_keeps++]))
            return cli_misused(c, "--keep takes NAME=TYPE, where TYPE is one of those of --type, not '%.80s'",
                               a->keeps.items[i]);
    types->type = t->type[a->type];
    types->keeps = r->keeps;
    if (fill_loras_choose(&r->loras, a->loras.items, a->loras.n, NULL, &err))
        return cli_misused(c, "%s", err.msg);
    return CLI_RUN;
}

/* What each type makes of FLUX.1-Fill. */
static enum err_code print_types(struct run *r, const struct types *t, struct err *err)
{
    for (int i = 0; i < t->n; i++) {
        const struct dtype_info *info = dtype_info(t->type[i]);
        int64_t bytes = 0;

        TRY(convert_fill_bytes(&(struct convert_types){ .type = t->type[i] }, &r->scratch, &bytes, err));
        (void)printf("%-6s  %7.4g bits a value of the blocks, FLUX.1-Fill takes %5.2f GB\n", info->name,
                     8.0 * info->block_bytes / info->block_elems, (double)bytes / GB);
    }
    return ERR_OK;
}

/* ---- paths ---- */

/* A word of a shell's command line. */
static enum err_code quoted(const char *text, struct arena *a, const char **ret, struct err *err)
{
    static const char harmless[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,/@%:";
    char *copy = NULL, *at;

    *ret = text;
    if (*text && text[strspn(text, harmless)] == '\0')
        return ERR_OK;
    TRY(arena_alloc(a, 4 * strlen(text) + 3, 1, &copy, err));
    at = copy;
    *at++ = '\'';
    for (; *text; text++)
        if (*text == '\'')
            at = (char *)memcpy(at, "'\\''", 4) + 4;
        else
            *at++ = *text;
    *at = '\'';
    *ret = copy;
    return ERR_OK;
}

/* ---- the input ---- */

/* The largest transformer of a folder, which lost least when it was made; the output of an earlier run is none. */
static enum err_code find_in_folder(struct run *r, const struct args *a, struct err *err)
{
    const struct model_folder folder = { .dir = a->in };
    const struct model_file *best = NULL;
    struct model_found found;
    struct model_list list;
    char text[MODEL_FILE_TEXT_SIZE];

    TRY(model_folder_list(&folder, &r->arena, &list, err));
    for (const struct model_file *f = list.files; f < list.files + list.n; f++)
        if (file_seen_is(&f->seen, FILE_FLUX_FILL) && !file_is_same(f->path, a->out) &&
            (!best || f->bytes > best->bytes))
            best = f;
    if (!best) /* the error says what is there instead */
        TRY(model_folder_find(&folder, MODEL_TRANSFORMER, &r->arena, &found, err));
    else if (!file_seen_serves(&best->seen, FILE_FLUX_FILL))
        return err_set(err, ERR_CORRUPT, "%s %s", best->path, model_file_text(best, true, text));
    r->input = best ? best->path : found.path;
    return ERR_OK;
}

/* LoRAs of a scale of 0 change nothing, and are left out. */
static enum err_code open_loras(struct run *r, const struct args *a, struct err *err)
{
    const char *dir = a->models ? a->models : a->in;
    struct lora_set all;

    if (!r->loras.n)
        return ERR_OK;
    if (!file_is_folder(dir))
        TRY(file_folder(dir, &r->arena, &dir, err));
    TRY(lora_set_open(dir, r->loras.items, r->loras.n, &r->arena, &all, err));
    for (int i = 0; i < all.n; i++) {
        if (r->loras.items[i].scale == 0)
            continue;
        r->merged_files[r->merged.n] = (struct fill_lora){ lora_path(all.loras[i]), r->loras.items[i].scale };
        r->merged.loras[r->merged.n++] = all.loras[i];
    }
    return lora_set_apply(&r->merged, &r->set, err);
}

static enum err_code check_paths(const struct run *r, const struct args *a, struct err *err)
{
    struct stat st;

    for (int i = 0; i < r->inputs.n_files; i++)
        if (file_is_same(a->out, r->inputs.files[i].path))
            return err_set(err, ERR_INVALID, "--out %s is the file that would be read: give another name", a->out);
    for (int i = 0; i < r->merged.n; i++)
        if (file_is_same(a->out, r->merged_files[i].path))
            return err_set(err, ERR_INVALID, "--out %s is a LoRA that would be read: give another name", a->out);
    if (stat(a->out, &st) == 0 && !a->force)
        return err_set(err, ERR_CONFLICT, "%s exists: --force replaces it", a->out);
    return ERR_OK;
}

static enum err_code open_input(struct run *r, const struct args *a, struct err *err)
{
    r->input = a->in;
    if (file_is_folder(a->in))
        TRY(find_in_folder(r, a, err));
    TRY(shards_open(r->input, &r->arena, &r->inputs, err));
    TRY(flux_weight_set(&r->set, r->inputs.files, r->inputs.n_files, err));
    TRY(open_loras(r, a, err));
    return check_paths(r, a, err);
}

static enum err_code make_plan(struct run *r, struct err *err)
{
    const struct convert_made_of m = { &r->inputs, r->merged_files, r->merged.n, &r->options.types };

    TRY(convert_notes_make(&m, &r->arena, &r->notes, err));
    r->options.notes = r->notes.pairs;
    r->options.n_notes = r->notes.n;
    return convert_plan_make(&r->set, &r->options, &r->arena, &r->plan, err);
}

static enum err_code check_space(struct run *r, const struct args *a, struct err *err)
{
    struct statvfs disk;
    const char *folder = NULL;
    double free_bytes, wanted = (double)r->plan.file_bytes;

    TRY(file_folder(a->out, &r->arena, &folder, err));
    if (statvfs(folder, &disk))
        return err_set(err, ERR_IO, "%s: cannot be asked for its free space: %m", folder);
    free_bytes = (double)disk.f_bavail * (double)disk.f_frsize;
    if (free_bytes >= wanted)
        return ERR_OK;
    return err_set(err, ERR_IO,
                   "%s takes %.1f MB, and %.1f MB are free there: free %.1f MB, name another folder, or take a smaller "
                   "type",
                   a->out, wanted / MB, free_bytes / MB, (wanted - free_bytes) / MB);
}

/* ---- the output ---- */

static void on_read(void *ctx, const char *path, int64_t done_bytes, int64_t total_bytes)
{
    struct run *r = ctx;

    (void)path;
    progress_show(&r->progress, "digest", NULL, r->n_read + done_bytes, r->n_to_read);
    r->n_reading = total_bytes;
    take_signals(r);
}

/* No chunk is being computed now. */
static void on_progress(void *ctx, int64_t done, int64_t total)
{
    struct run *r = ctx;

    for (int i = 0; i < r->merged.n; i++)
        lora_release(r->merged.loras[i]);
    progress_show(&r->progress, "convert", NULL, done, total);
}

static void on_bytes(void *ctx, const void *bytes, size_t n)
{
    struct run *r = ctx;

    if (!r->sha256_err.code)
        err_ignore(crypto_sha256_add(r->sha256, (struct span){ bytes, n }, &r->sha256_err));
}

/* The digests of the inputs come first: they stand before the data. */
static enum err_code take_digests(struct run *r, struct err *err)
{
    const struct file_digest_watch watch = { on_read, r, &r->stopped };

    r->n_to_read = convert_notes_bytes(&r->notes);
    for (int i = 0; i < r->notes.n_paths; i++) {
        char text[VERDICT_TEXT_SIZE];

        TRY(convert_notes_digest(&r->notes, i, &watch, text, err));
        r->n_read += r->n_reading;
        (void)fprintf(stderr, "%s\n", text);
    }
    return ERR_OK;
}

static enum err_code write_output(struct run *r, const struct args *a, struct err *err)
{
    const struct convert_watch watch = {
        .progress = on_progress, .cancelled = is_stopped, .ctx = r, .listener = { on_bytes, r }
    };
    unsigned char digest[CRYPTO_SHA256_BYTES];

    TRY(take_digests(r, err));
    TRY(crypto_sha256_new(&r->sha256, err));
    TRY(convert_write(&r->plan, a->out, &watch, &r->scratch, err));
    if (r->sha256_err.code)
        return err_set(err, r->sha256_err.code, "%s", r->sha256_err.msg);
    TRY(crypto_sha256_end(r->sha256, digest, err));
    crypto_sha256_text(digest, r->digest);
    return ERR_OK;
}

/* ", 304 matrices as Q8_0, 5 as BF16, 5 as F32" */
static void print_types_of_matrices(const struct gguf_outline *o)
{
    const char *unit = " matrices";

    for (int type = DT_COUNT - 1; type >= 0; type--) {
        int n = 0;

        for (int i = 0; i < o->n_tensors; i++)
            n += o->tensors[i].n_dims > 1 && o->tensors[i].dtype == (enum dtype)type;
        if (n) {
            (void)printf(", %d%s as %s", n, unit, dtype_info((enum dtype)type)->name);
            unit = "";
        }
    }
}

static void print_result(const struct run *r, const struct args *a)
{
    double seconds = (double)(sys_mono_ms(&sys_real) - r->began_ms) / 1000;

    output_wrote(a->out, 0, 0);
    (void)printf("sha256 %s\n", r->digest);
    (void)printf("from %s: %d tensors", r->input, r->plan.outline.n_tensors);
    print_types_of_matrices(&r->plan.outline);
    if (r->inputs.n_files > 1)
        (void)printf("; %d files", r->inputs.n_files);
    if (r->merged.n)
        (void)printf("; %d LoRA%s merged into %d tensors", r->merged.n, r->merged.n > 1 ? "s" : "", r->plan.n_patched);
    if (r->plan.n_others)
        (void)printf("; %d tensors of other networks left out", r->plan.n_others);
    (void)printf("; %.1f s, %.0f MB/s\n", seconds,
                 (double)r->plan.file_bytes / 1e6 / (seconds > 0.001 ? seconds : 0.001));
}

/* What earlier runs left that were killed: files as large as the output, which nothing else removes. */
static enum err_code note_leftovers(struct run *r, const struct args *a, struct err *err)
{
    const char *folder = NULL, *name = file_short_name(a->out);
    const struct dirent *entry;
    DIR *dir;

    TRY(file_folder(a->out, &r->arena, &folder, err));
    dir = opendir(folder);
    while (dir && (entry = readdir(dir))) {
        const char *rest = entry->d_name + strlen(name);

        if (strncmp(entry->d_name, name, strlen(name)) == 0 && *rest == '.' &&
            strspn(rest, ".0123456789") == strlen(rest) - 3 && span_ends(span_of(rest), ".tmp"))
            (void)fprintf(
                stderr,
                "inpaint-worker convert: note: %s/%s is left of a run that was killed, or belongs to one that "
                "still works: if none does, remove it\n",
                folder, entry->d_name);
    }
    if (dir)
        (void)closedir(dir);
    return ERR_OK;
}

/* The values of a block type cannot come back, and quantised twice they are worse than once. */
static void note_quantised(struct run *r)
{
    int n_quantised = 0;

    for (int i = 0; i < r->plan.outline.n_tensors; i++) {
        enum dtype from = r->plan.sources[i].pieces[0].entry->dtype, to = r->plan.outline.tensors[i].dtype;

        n_quantised += from != to && dtype_info(from)->block_elems > 1;
    }
    if (n_quantised)
        (void)fprintf(
            stderr,
            "inpaint-worker convert: note: %d matrices of %s are quantised already, and what that lost does not "
            "come back: take the original file if you have it\n",
            n_quantised, r->input);
}

static enum err_code convert(struct run *r, const struct args *a, struct err *err)
{
    r->began_ms = sys_mono_ms(&sys_real);
    TRY(open_input(r, a, err));
    TRY(make_plan(r, err));
    TRY(note_leftovers(r, a, err));
    TRY(check_space(r, a, err));
    note_quantised(r);
    return write_output(r, a, err);
}

/* ---- what becomes of it ---- */

/* The first part that the folder lacks beside the transformer; MODEL_PART_COUNT: none. */
static enum model_part missing_part(struct run *r, const char *dir)
{
    const struct model_folder folder = { .dir = dir };
    struct model_found found;
    bool has_prompts = model_folder_find(&folder, MODEL_PROMPTS, &r->arena, &found, NULL) == ERR_OK;

    for (enum model_part part = MODEL_VAE; part < MODEL_PART_COUNT; part++)
        if (model_part_is_needed(part, has_prompts) && model_folder_find(&folder, part, &r->arena, &found, NULL))
            return part;
    return MODEL_PART_COUNT;
}

/* How a model folder names the output: without its folder where it is in that folder. */
static enum err_code name_in_folder(struct run *r, const char *dir, const char *out, const char **ret, struct err *err)
{
    const char *folder = NULL;
    char *path = NULL;

    TRY(file_folder(out, &r->arena, &folder, err));
    if (file_is_same(folder, dir)) {
        *ret = file_short_name(out);
        return ERR_OK;
    }
    TRY(arena_printf(&r->arena, &path, err, "%s%s", strchr(out, '/') ? "" : "./", out));
    *ret = path;
    return ERR_OK;
}

static enum err_code record(const char *dir, const char *transformer, struct err *err)
{
    const struct fill_options o = { .transformer = transformer,
                                    .max_width = CHECK_SIDE,
                                    .max_height = CHECK_SIDE,
                                    .max_steps = 1,
                                    .max_t5_len = CHECK_T5_LEN };
    struct backend *be = NULL;
    struct fill_model *m = NULL;
    enum err_code rc = backend_open(BACKEND_CPU, PRECISION_AUTO, &be, err);

    if (be)
        be->warn = cli_warn;
    if (!rc)
        rc = fill_model_open(dir, &o, be, &m, err);
    if (!rc)
        rc = self_check_record(m, err);
    fill_model_close(m);
    backend_close(be);
    return rc;
}

static enum err_code store_values(struct run *r, const char *dir, const char *name, struct err *err)
{
    enum model_part lacks = missing_part(r, dir);

    if (lacks != MODEL_PART_COUNT) {
        (void)printf(
            "no self-check values are stored, because %s has no %s yet: once all parts are there, `inpaint-worker "
            "doctor --self-check` with the settings of the service stores them\n",
            dir, model_part_name(lacks));
        return ERR_OK;
    }
    progress_show(&r->progress, "self-check", NULL, 0, 1);
    TRY(record(dir, name, err));
    progress_show(&r->progress, "self-check", NULL, 1, 1);
    (void)printf("self-check values are stored beside it: later runs on a CPU must reproduce them\n");
    return ERR_OK;
}

/* Stores self-check values where the folder has the other parts, and says what can be done next. */
static enum err_code finish(struct run *r, const struct args *a, struct err *err)
{
    const char *dir = a->models, *name = NULL, *dir_word = NULL, *name_word = NULL;

    if (!dir)
        TRY(file_folder(a->out, &r->arena, &dir, err));
    TRY(name_in_folder(r, dir, a->out, &name, err));
    TRY(quoted(dir, &r->arena, &dir_word, err));
    TRY(quoted(name, &r->arena, &name_word, err));
    if (a->self_check == SELF_CHECK_AUTO)
        TRY(store_values(r, dir, name, err));
    (void)printf(
        "next: inpaint-worker fill --models %s --transformer %s --image photo.jpg --mask mask.png --prompt 'an empty "
        "lawn' --out filled.png\n",
        dir_word, name_word);
    return ERR_OK;
}

/* ---- the command ---- */

static int run_blocked(struct run *r, const struct args *a, const struct cli_command *c)
{
    const sigset_t set = our_signals();
    struct err err = { 0 };
    sigset_t before;
    enum err_code rc;

    progress_init_stderr(&r->progress);
    (void)pthread_sigmask(SIG_BLOCK, &set, &before);
    rc = convert(r, a, &err);
    if (rc == ERR_CANCELLED) {
        err = (struct err){ 0 };
        rc = err_set(&err, rc, "stopped; no file was written");
    }
    progress_done(&r->progress);
    take_signals(r); /* one that came too late has nothing to end any more */
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == ERR_OK) {
        print_result(r, a);
        (void)fflush(stdout);
        rc = finish(r, a, &err);
        progress_done(&r->progress);
    }
    return rc ? cli_fail(c, &err) : CLI_DONE;
}

static int check_usage(const struct args *a, const struct cli_command *c)
{
    if (!a->in || !a->out)
        return cli_misused(c, "%s is required", a->in ? "--out" : "--in");
    if (!span_ends(span_of(a->out), ".gguf"))
        return cli_misused(c, "--out must end in .gguf, not '%.80s': model folders are searched for such names",
                           a->out);
    return CLI_RUN;
}

static int run(struct run *r, const struct args *a, const struct types *t, const struct cli_command *c)
{
    struct err err = { 0 };
    int status;

    if (arena_init(&r->arena, arena_bytes, &err) || arena_init(&r->scratch, arena_bytes, &err))
        return cli_fail(c, &err);
    if (a->type == t->n)
        return print_types(r, t, &err) ? cli_fail(c, &err) : CLI_DONE;
    status = check_usage(a, c);
    if (status == CLI_RUN)
        status = read_options(r, a, t, c);
    return status == CLI_RUN ? run_blocked(r, a, c) : status;
}

int cmd_convert(int argc, char **argv)
{
    static const char *const auto_off[] = { "auto", "off", NULL };
    const struct types types = find_types();
    struct args a = { 0 };
    const struct cli_option options[] = {
        { "--in", CLI_TEXT, &a.in, "FILE|FOLDER|INDEX",
          .help = "the transformer: a GGUF or safetensors file, the first part of a split one, an index "
                  "(*.safetensors.index.json), or a model folder, of which the transformer is taken" },
        { "--out", CLI_OUT, &a.out, "FILE.gguf", .help = "the file to write; it is there when it is whole" },
        { "--type", CLI_CHOICE, &a.type, .choices = types.name, .required = true,
          .help = "type of the blocks' matrices, 99 % of the values; " LIST " prints what each makes of FLUX.1-Fill" },
        { "--lora", CLI_TEXTS, &a.loras, "FILE[:SCALE]",
          .help = "a LoRA to merge into it: a path, or the name of a file in the model folder or its folder loras; "
                  "scale 1 unless given; may be repeated" },
        { "--keep", CLI_TEXTS, &a.keeps, "NAME=TYPE",
          .help = "another type for those matrices of the blocks in whose names NAME occurs, as in "
                  "--keep modulation=BF16; may be repeated, the first that fits counts" },
        { "--models", CLI_TEXT, &a.models, "DIR",
          .help = "folder with the other parts, for LoRAs and the self-check; default: the folder of the output" },
        { "--self-check", CLI_CHOICE, &a.self_check, .choices = auto_off,
          .help =
              "auto (default): where the folder has all parts, a small picture is painted on the CPU, and its values "
              "are stored beside the file, as `doctor --self-check` does" },
        { "--force", CLI_FLAG, &a.force, NULL, .help = "replace a file that is there" },
    };
    const struct cli_command command = {
        "convert", "writes a transformer of any layout as one GGUF file of a chosen type", options,
        .n_options = CLI_COUNT(options),
        .example = "inpaint-worker convert --in /models/transformer --type Q8_0 --lora remover.safetensors:0.8 --out "
                   "/models/flux1-fill-remover-Q8_0.gguf"
    };
    int status = cli_parse(&command, argc, argv);
    static struct run r; /* large: paths of files, texts of LoRAs */

    if (status != CLI_RUN)
        return status;
    r = (struct run){ 0 };
    status = run(&r, &a, &types, &command);
    crypto_sha256_free(r.sha256);
    arena_done(&r.arena);
    arena_done(&r.scratch);
    return status;
}
