#include "models/layout/model_list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "models/file/shard_index.h"
#include "models/file/shards.h"

enum { START_BYTES = 16, NUMBER_FORM = 15 /* "-00001-of-00002" */, FIRST_ROOM = 64 };

/* ComfyUI's and diffusers' sub-folders, and those of Comfy-Org's repositories. */
static const char *const folders[] = { "",
                                       "unet",
                                       "diffusion_models",
                                       "transformer",
                                       "vae",
                                       "clip",
                                       "text_encoders",
                                       "text_encoder",
                                       "text_encoder_2",
                                       "checkpoints",
                                       "split_files/diffusion_models",
                                       "split_files/text_encoders",
                                       "split_files/vae",
                                       "loras" };
enum { N_FOLDERS = sizeof folders / sizeof *folders, LORAS = N_FOLDERS - 1 };

enum ending { NO_MODEL_FILE, TENSORS, INDEX, PICKLE, PARTIAL };

static const struct {
    const char *text;
    enum ending ending;
} endings[] = {
    { ".gguf", TENSORS },     { ".safetensors", TENSORS }, { ".sft", TENSORS },        { ".ckpt", PICKLE },
    { ".pt", PICKLE },        { ".pth", PICKLE },          { ".bin", PICKLE },         { ".part", PARTIAL },
    { ".partial", PARTIAL },  { ".aria2", PARTIAL },       { ".incomplete", PARTIAL }, { ".crdownload", PARTIAL },
    { ".download", PARTIAL }, { ".gstmp", PARTIAL },
};
enum { N_ENDINGS = sizeof endings / sizeof *endings };

/* The names of model files in one folder, sorted. */
struct names {
    const char **names;
    int n, room;
};

struct scan {
    const char *dir;
    struct arena *a;
    struct model_list *list;
    const char *sub;
    const struct names *names;
};

const char *model_list_folder(int i)
{
    return i < LORAS ? folders[i] : NULL;
}

/* --- names --- */

/* Endings in capitals are those of files that came by way of other systems. */
static bool ends(const char *name, const char *ending)
{
    return span_ends_in_any_case(span_of(name), ending);
}

static enum ending ending_of(const char *name, size_t *ret_stem)
{
    struct span stem, variant;

    if (shard_index_is_name(span_of(name), &stem, &variant)) {
        *ret_stem = stem.len;
        return INDEX;
    }
    for (int i = 0; i < N_ENDINGS; i++)
        if (ends(name, endings[i].text)) {
            *ret_stem = strlen(name) - strlen(endings[i].text);
            return endings[i].ending;
        }
    return NO_MODEL_FILE;
}

bool model_list_is_tensor_file(const char *name)
{
    size_t stem = 0;

    return ending_of(name, &stem) == TENSORS;
}

/* "STEM" of the shards "STEM-00001-of-00002.safetensors" that an index lists: with the variant, if it has one. */
static enum err_code stem_of_shards(const char *index, struct arena *a, char **ret, struct err *err)
{
    struct span stem = { index, 0 }, variant = { index, 0 };

    (void)shard_index_is_name(span_of(index), &stem, &variant);
    return arena_printf(a, ret, err, "%.*s%s%.*s", SPAN_ARG(stem), variant.len ? "." : "", SPAN_ARG(variant));
}

static int compare_names(const void *x, const void *y)
{
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static bool is_listed(const struct names *names, const char *name)
{
    return names->n && bsearch(&name, names->names, (size_t)names->n, sizeof *names->names, compare_names) != NULL;
}

static enum err_code make_room(struct names *names, struct arena *a, struct err *err)
{
    const char **more = NULL;

    if (names->n < names->room)
        return ERR_OK;
    names->room = names->room ? 2 * names->room : FIRST_ROOM;
    TRY(arena_alloc(a, (size_t)names->room, sizeof *more, &more, err));
    if (names->n)
        memcpy(more, names->names, (size_t)names->n * sizeof *more);
    names->names = more;
    return ERR_OK;
}

/* What is found in one folder. */
struct reading {
    const char *path;
    struct arena *a;
    struct names *names;
};

static enum err_code take_name(void *ctx, const char *name, struct err *err)
{
    const struct reading *r = ctx;
    char *copy = NULL;
    size_t stem = 0;

    if (name[0] == '.' || ending_of(name, &stem) == NO_MODEL_FILE || !stem)
        return ERR_OK;
    if (r->names->n == MODEL_LIST_MAX_NAMES)
        return err_set(
            err, ERR_TOO_LARGE,
            "%s: more than %d model files are in this folder: put those that are no part of the model elsewhere",
            r->path, MODEL_LIST_MAX_NAMES);
    TRY(make_room(r->names, r->a, err));
    TRY(span_dup(r->a, span_of(name), &copy, err));
    r->names->names[r->names->n++] = copy;
    return ERR_OK;
}

/* A sub-folder that does not exist has none. */
static enum err_code list_names(const char *dir, const char *sub, struct arena *a, struct names *ret, struct err *err)
{
    struct err why = { 0 };
    char *path = NULL;
    enum err_code rc;

    *ret = (struct names){ 0 };
    TRY(arena_printf(a, &path, err, "%s/%s", dir, sub));
    rc = file_list(path, take_name, &(struct reading){ path, a, ret }, &why);
    if (rc && !(rc == ERR_NOT_FOUND && *sub))
        return err_set(err, rc, "%s", why.msg);
    if (ret->n)
        qsort(ret->names, (size_t)ret->n, sizeof *ret->names, compare_names);
    return ERR_OK;
}

/* One of several files: "STEM-00001-of-00002.gguf". */
struct numbered {
    size_t stem; /* length */
    int no, of;
    const char *ending;
};

static int five_digits(const char *text)
{
    int v = 0;

    for (int i = 0; i < 5; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        v = v * 10 + text[i] - '0';
    }
    return v;
}

static bool is_numbered(const char *name, struct numbered *ret)
{
    size_t stem = 0;
    const char *number;

    if (ending_of(name, &stem) != TENSORS || stem <= NUMBER_FORM)
        return false;
    number = name + stem - NUMBER_FORM;
    *ret = (struct numbered){ stem - NUMBER_FORM, five_digits(number + 1), five_digits(number + 10), name + stem };
    return number[0] == '-' && !strncmp(number + 6, "-of-", 4) && ret->no > 0 && ret->of > 0;
}

static bool is_gguf(const char *name)
{
    return ends(name, ".gguf");
}

/* --- one file --- */

/* A problem is told after the file's name, which messages begin with. */
static enum err_code keep_problem(struct model_file *f, const struct err *why, const char *path, struct arena *a,
                                  struct err *err)
{
    const char *text = why->msg;
    char *copy = NULL;

    if (span_starts(span_of(text), path))
        text += strlen(path);
    if (span_starts(span_of(text), ": "))
        text += 2;
    TRY(arena_printf(a, &copy, err, "%s", *text == ' ' ? text + 1 : text));
    f->problem = copy;
    f->rc = why->code == ERR_NOT_FOUND ? ERR_IO : why->code; /* the folder lists it, or an index does: it is there */
    return ERR_OK;
}

static void set_kind(struct model_file *f, enum file_kind kind, const char *detail)
{
    f->seen = (struct file_seen){ .kind = kind, .network = FILE_UNKNOWN, .unfinished = kind == FILE_UNFINISHED };
    (void)snprintf(f->seen.detail, sizeof f->seen.detail, "%s", detail);
}

/* Says what is under a name; true: a regular file that is not empty. */
static bool is_file(struct model_file *f, const char *path, struct err *why)
{
    struct stat st;

    f->bytes = INT64_MAX;
    if (!file_stat(path, &st)) {
        f->leads_nowhere = errno == ENOENT && file_is_named(path);
        set_kind(f, FILE_UNREADABLE, f->leads_nowhere ? "a link that leads nowhere" : "");
        (void)err_set(why, ERR_IO, "%s: %m", path);
        return false;
    }
    f->bytes = (int64_t)st.st_size;
    if (S_ISREG(st.st_mode) && st.st_size > 0)
        return true;
    if (S_ISREG(st.st_mode))
        set_kind(f, FILE_UNFINISHED, "empty");
    else
        set_kind(f, FILE_FOREIGN, S_ISDIR(st.st_mode) ? "a folder" : S_ISFIFO(st.st_mode) ? "a pipe" : "a device");
    return false;
}

enum start { START_UNREADABLE, START_ZEROS, START_TENSORS, START_OTHER };

/* What a file begins with, read without a mapping: a disk that fails here is only this file's problem. */
static enum start look_at_start(const char *path, struct err *why)
{
    char start[START_BYTES] = { 0 };
    struct stat st;
    int fd = -1;
    struct span text = { start, 0 };
    ssize_t n;

    if (file_open(path, &fd, &st, why))
        return START_UNREADABLE;
    n = pread(fd, start, sizeof start, 0);
    text.len = n < 0 ? 0 : (size_t)n;
    if (n < 0)
        (void)err_set(why, ERR_IO, "%s: %m", path);
    (void)close(fd);
    if (n < 0)
        return START_UNREADABLE;
    if (n == START_BYTES && span_is_zero(text))
        return START_ZEROS;
    return tensor_file_begins(text) ? START_TENSORS : START_OTHER;
}

/* Reads the directory; false: there is none, f and why say why. */
static bool survey(struct model_file *f, const char *path, struct arena *a, struct tensor_file *ret, struct err *why)
{
    enum start start = START_UNREADABLE;
    enum err_code rc;

    if (!is_file(f, path, why))
        return false;
    start = look_at_start(path, why);
    if (start == START_ZEROS)
        (void)err_set(why, ERR_CORRUPT,
                      "%s: it begins with zeros, as a download does that has taken its place on the disk and not "
                      "written to it",
                      path);
    rc = why->code ? why->code : tensor_file_survey(path, a, ret, why);
    if (!rc)
        return true;
    set_kind(f, start == START_OTHER ? FILE_FOREIGN : FILE_UNREADABLE, "");
    if (start == START_TENSORS && rc == ERR_CORRUPT) /* how much is missing, its directory would say */
        f->bytes = INT64_MAX;
    return false;
}

/* The files of one model. `of`: how many there should be. */
struct group {
    const char *paths[SHARDS_MAX_FILES];
    int n, of;
};

/* Judges the files together. What keeps one from being read is in `why`. */
static void see_group(const struct group *g, struct arena *a, struct model_file *f, struct err *why)
{
    ARENA_SCRATCH(a);
    struct tensor_file *files = NULL;
    int64_t bytes = 0;

    if (arena_alloc(a, (size_t)g->n, sizeof *files, &files, why)) {
        set_kind(f, FILE_UNREADABLE, "");
        return;
    }
    for (int i = 0; i < g->n; i++) {
        if (!survey(f, g->paths[i], a, &files[i], why))
            return;
        bytes += (int64_t)files[i].map.len + files[i].missing_bytes;
    }
    file_kind_see(files, g->n, a, &f->seen);
    f->bytes = g->n < g->of ? INT64_MAX : bytes;
    f->seen.unfinished |= g->n < g->of;
    if (g->n < g->of)
        (void)err_set(why, ERR_CORRUPT, "%s: %d of its %d files are missing", g->paths[0], g->of - g->n, g->of);
}

/* An index all of whose files are there; false: see `why`. */
static bool see_index(const char *path, struct arena *a, struct model_file *f, struct err *why)
{
    ARENA_SCRATCH(a);
    struct shards shards;

    if (!is_file(f, path, why) || shards_survey(path, a, &shards, why))
        return false;
    file_kind_see(shards.files, shards.n_files, a, &f->seen);
    f->seen.missing_bytes = shards.missing_bytes;
    f->seen.unfinished = shards.missing_bytes > 0;
    f->bytes = shards_bytes(&shards) + shards.missing_bytes;
    return true;
}

/* --- one folder --- */

static enum err_code path_of(const struct scan *s, const char *name, const char **ret_name, const char **ret_path,
                             struct err *err)
{
    char *in_folder = NULL, *path = NULL;

    TRY(arena_printf(s->a, &in_folder, err, "%s%s%s", s->sub, *s->sub ? "/" : "", name));
    TRY(arena_printf(s->a, &path, err, "%s/%s", s->dir, in_folder));
    *ret_name = in_folder;
    *ret_path = path;
    return ERR_OK;
}

/* All files with this stem and number of files. */
static enum err_code gather(const struct scan *s, const char *stem, size_t stem_len, const char *ending,
                            struct group *ret, struct err *err)
{
    const char *ignored = NULL;

    *ret = (struct group){ 0 };
    for (int i = 0; i < s->names->n; i++) {
        struct numbered number;

        if (!is_numbered(s->names->names[i], &number) || number.stem != stem_len ||
            strncmp(s->names->names[i], stem, stem_len) != 0 || strcmp(number.ending, ending) != 0)
            continue;
        if (ret->n == SHARDS_MAX_FILES || (ret->of && ret->of != number.of))
            return ERR_OK; /* two models of one name, or more than is ever read: as many as fit are looked at */
        ret->of = number.of;
        TRY(path_of(s, s->names->names[i], &ignored, &ret->paths[ret->n++], err));
    }
    return ERR_OK;
}

/* Whether a download is at work on this file, or was given up: its companion is beside it. */
static enum err_code is_in_progress(const struct scan *s, const char *name, bool *ret, struct err *err)
{
    *ret = false;
    for (int i = 0; i < N_ENDINGS && !*ret; i++) {
        char *companion = NULL;

        if (endings[i].ending != PARTIAL)
            continue;
        TRY(arena_printf(s->a, &companion, err, "%s%s", name, endings[i].text));
        *ret = is_listed(s->names, companion);
    }
    return ERR_OK;
}

/* An index that cannot be used as it is: what is there of its files may say what it would be. */
static enum err_code see_parts_of_index(const struct scan *s, const char *name, struct model_file *f, struct err *why,
                                        struct err *err)
{
    struct err ignored = { 0 };
    struct group g;
    char *stem = NULL;

    set_kind(f, FILE_UNREADABLE, "");
    TRY(stem_of_shards(name, s->a, &stem, err));
    TRY(gather(s, stem, strlen(stem), ".safetensors", &g, err));
    if (g.n)
        see_group(&g, s->a, f, &ignored);
    else if (why->code == ERR_NOT_FOUND && !f->leads_nowhere) {
        set_kind(f, FILE_UNFINISHED, "only the index of its files is there");
        *why = (struct err){ 0 };
    }
    f->bytes = INT64_MAX;
    return ERR_OK;
}

/* A shard says nothing of its fellows, so only an index makes a model of it. The parts of a GGUF are found by the name
 * of the first. */
static bool is_part_alone(const char *name, const struct model_file *f)
{
    struct numbered number;

    if (is_numbered(name, &number))
        return !is_gguf(name) || number.no > 1;
    return f->seen.parts > 1;
}

/* Whether the index of a shard is there, whose stem is given: "STEM.safetensors.index.json", or the variant's. */
static enum err_code has_index(const struct scan *s, struct span stem, bool *ret, struct err *err)
{
    *ret = false;
    for (int i = 0; i < s->names->n && !*ret; i++) {
        const char *name = s->names->names[i];
        size_t ignored = 0;
        char *its_stem = NULL;

        if (ending_of(name, &ignored) != INDEX)
            continue;
        TRY(stem_of_shards(name, s->a, &its_stem, err));
        *ret = strlen(its_stem) == stem.len && !memcmp(its_stem, stem.ptr, stem.len);
    }
    return ERR_OK;
}

/* What is missing of a shard's fellows. */
static enum err_code note_part(const struct scan *s, const char *name, struct model_file *f, struct err *why,
                               struct err *err)
{
    struct numbered number;
    bool indexed = true;

    f->seen.kind = FILE_SPLIT_PART;
    if (is_numbered(name, &number) && !is_gguf(name))
        TRY(has_index(s, (struct span){ name, number.stem }, &indexed, err));
    if (!indexed && !why->code)
        (void)err_set(why, ERR_INVALID, "the *.safetensors.index.json that lists them is not beside it: fetch it, too");
    return ERR_OK;
}

static enum err_code see_named(const struct scan *s, const char *name, enum ending ending, struct model_file *f,
                               struct err *err)
{
    struct err why = { 0 };
    struct numbered number;
    struct group g = { .n = 1, .of = 1 };
    bool in_progress = false;

    f->problem = "";
    g.paths[0] = f->path;
    if (ending == PICKLE)
        set_kind(f, FILE_FOREIGN, "a pickle of PyTorch");
    else if (ending == PARTIAL)
        set_kind(f, FILE_UNFINISHED, "");
    else if (ending == INDEX) {
        if (!see_index(f->path, s->a, f, &why))
            TRY(see_parts_of_index(s, name, f, &why, err));
    } else {
        if (is_numbered(name, &number))
            TRY(gather(s, name, number.stem, number.ending, &g, err));
        see_group(&g, s->a, f, &why);
    }
    TRY(is_in_progress(s, name, &in_progress, err));
    f->seen.unfinished |= in_progress;
    if (ending == TENSORS && is_part_alone(name, f))
        TRY(note_part(s, name, f, &why, err));
    return why.code ? keep_problem(f, &why, g.paths[0], s->a, err) : ERR_OK;
}

/* Whether another name stands for this one: the first of its files, their index, or the file of a download. */
static enum err_code is_represented(const struct scan *s, const char *name, enum ending ending, size_t stem, bool *ret,
                                    struct err *err)
{
    char *other = NULL;
    struct numbered number, before;

    *ret = false;
    if (ending == PARTIAL) {
        TRY(arena_printf(s->a, &other, err, "%.*s", (int)stem, name));
        *ret = is_listed(s->names, other);
    }
    if (ending != TENSORS || !is_numbered(name, &number))
        return ERR_OK;
    if (!is_gguf(name))
        TRY(has_index(s, (struct span){ name, number.stem }, ret, err));
    for (int i = 0; i < s->names->n && !*ret && s->names->names[i] != name; i++) /* those before it in the order */
        *ret = is_numbered(s->names->names[i], &before) && before.stem == number.stem && before.of == number.of &&
               !strncmp(s->names->names[i], name, number.stem) && !strcmp(before.ending, number.ending);
    return ERR_OK;
}

static enum err_code grow(struct scan *s, int more, struct err *err)
{
    struct model_file *files = NULL;

    TRY(arena_alloc(s->a, (size_t)(s->list->n + more), sizeof *files, &files, err));
    if (s->list->n)
        memcpy(files, s->list->files, (size_t)s->list->n * sizeof *files);
    s->list->files = files;
    return ERR_OK;
}

static enum err_code scan_folder(struct scan *s, struct err *err)
{
    TRY(grow(s, s->names->n, err));
    for (int i = 0; i < s->names->n; i++) {
        const char *name = s->names->names[i];
        struct model_file *f = &s->list->files[s->list->n];
        size_t stem = 0;
        enum ending ending = ending_of(name, &stem);
        bool represented = false;

        TRY(is_represented(s, name, ending, stem, &represented, err));
        if (represented)
            continue;
        *f = (struct model_file){ 0 };
        TRY(path_of(s, name, &f->name, &f->path, err));
        TRY(see_named(s, name, ending, f, err));
        s->list->n++;
    }
    return ERR_OK;
}

enum err_code model_list_scan(const char *dir, bool with_loras, struct arena *a, struct model_list *ret,
                              struct err *err)
{
    struct model_list list = { 0 };

    for (int i = 0; i < N_FOLDERS; i++) {
        struct names names;
        struct scan s = { .dir = dir, .a = a, .list = &list, .sub = folders[i], .names = &names };

        if (i == LORAS && !with_loras)
            continue;
        TRY(list_names(dir, folders[i], a, &names, err));
        TRY(scan_folder(&s, err));
    }
    *ret = list;
    return ERR_OK;
}

enum err_code model_list_see(const char *name, const char *path, struct arena *a, struct model_file *ret,
                             struct err *err)
{
    const char *file = file_short_name(path);
    struct model_file f = { .name = name, .path = path };
    struct names names;
    struct scan s = { .a = a, .sub = "", .names = &names };
    size_t stem = 0;
    enum ending ending = ending_of(file, &stem);

    TRY(file_folder(path, a, &s.dir, err));
    TRY(list_names(s.dir, "", a, &names, err));
    TRY(see_named(&s, file, ending == INDEX ? INDEX : TENSORS, &f, err));
    *ret = f;
    return ERR_OK;
}

/* --- text --- */

const char *model_file_text(const struct model_file *f, bool whole, char ret[MODEL_FILE_TEXT_SIZE])
{
    char name[FILE_TEXT_SIZE], reason[FILE_TEXT_SIZE], remedy[FILE_TEXT_SIZE];
    bool problem = *f->problem != 0;

    (void)file_seen_name(&f->seen, name);
    (void)file_seen_reason(&f->seen, reason);
    (void)file_seen_remedy(&f->seen, remedy);
    if (!whole)
        (void)snprintf(ret, MODEL_FILE_TEXT_SIZE, "is %s", name);
    else if (f->seen.kind == FILE_UNREADABLE && span_starts(span_of(f->problem), "is "))
        (void)snprintf(ret, MODEL_FILE_TEXT_SIZE, "%s", f->problem);
    else if (f->seen.kind == FILE_FOREIGN && problem)
        (void)snprintf(ret, MODEL_FILE_TEXT_SIZE, "%s", f->problem);
    else if (f->seen.kind == FILE_UNREADABLE)
        (void)snprintf(ret, MODEL_FILE_TEXT_SIZE, "cannot be read: %s; %s", f->problem, remedy);
    else
        (void)snprintf(ret, MODEL_FILE_TEXT_SIZE, "is %s%s%s%s%s", name, problem || *reason ? ": " : "",
                       problem ? f->problem : reason, *remedy ? "; " : "", remedy);
    return ret;
}
