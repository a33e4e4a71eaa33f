#include "models/model_dir.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/base/file.h"
#include "kernels/base/json_scan.h"
#include "models/flux.h"
#include "models/t5_encoder.h"

/* --- files --- */

static bool is_there(const char *path, int64_t *ret_bytes)
{
    struct stat st;

    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    if (ret_bytes)
        *ret_bytes = st.st_size;
    return true;
}

static enum err_code join(const char *dir, const char *name, struct arena *a, const char **ret, struct err *err)
{
    char *path = NULL;
    enum err_code rc = arena_printf(a, &path, err, "%s/%s", dir, name);

    if (!rc)
        *ret = path;
    return rc;
}

/* The first of the names that is there; *ret NULL where none is. */
static enum err_code first_of(const char *dir, const char *const *names, struct arena *a, const char **ret,
                              struct err *err)
{
    for (; *names; names++) {
        enum err_code rc = join(dir, *names, a, ret, err);

        if (rc || is_there(*ret, NULL))
            return rc;
    }
    *ret = NULL;
    return ERR_OK;
}

static enum err_code need_first_of(const char *dir, const char *what, const char *const *names, struct arena *a,
                                   const char **ret, struct err *err)
{
    enum err_code rc = first_of(dir, names, a, ret, err);

    if (!rc && !*ret)
        return err_set(err, ERR_NOT_FOUND, "%s: no %s: neither %s nor %s", dir, what, names[0], names[1]);
    return rc;
}

struct names {
    char **list; /* sorted */
    int n;
};

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool matches(const char *name, const char *prefix, const char *suffix)
{
    struct span s = span_of(name);

    return span_starts(s, prefix) && span_ends(s, suffix) && s.len >= strlen(prefix) + strlen(suffix);
}

/* Names in dir that begin and end so. A folder that is not there has none. */
static enum err_code list(const char *dir, const char *prefix, const char *suffix, struct arena *a, struct names *ret,
                          struct err *err)
{
    DIR *d = opendir(dir);
    enum err_code rc;

    ret->n = 0;
    if (!d)
        return errno == ENOENT || errno == ENOTDIR
                   ? ERR_OK
                   : err_set(err, ERR_IO, "%s: cannot be listed: %s", dir, strerror(errno));
    rc = arena_alloc(a, MODEL_DIR_MAX_NAMES, sizeof *ret->list, &ret->list, err);
    for (struct dirent *e; !rc && (e = readdir(d)) && ret->n < MODEL_DIR_MAX_NAMES;)
        if (e->d_name[0] != '.' && matches(e->d_name, prefix, suffix))
            rc = span_dup(a, span_of(e->d_name), &ret->list[ret->n++], err);
    (void)closedir(d);
    if (!rc)
        qsort(ret->list, (size_t)ret->n, sizeof *ret->list, compare);
    return rc;
}

/* --- transformer --- */

static enum err_code probe_flux(const struct tensor_file *f, struct err *err)
{
    struct weight_set set;
    enum err_code rc = flux_weight_set(&set, f, 1, err);

    return rc == ERR_UNSUPPORTED ? ERR_OK : rc; /* diffusers names: it is one, and loading will say so */
}

static enum err_code probe_t5(const struct tensor_file *f, struct err *err)
{
    struct weight_set set;

    return t5_weight_set(&set, f, 1, err);
}

/* The largest file with such an ending that passes the probe and is not over max_bytes; *ret NULL: none. Files that
 * cannot be read are passed over, but the first such error is what the caller gets when nothing else is found. */
static enum err_code largest(const char *dir, const char *suffix, int64_t max_bytes,
                             enum err_code (*probe)(const struct tensor_file *, struct err *), struct arena *a,
                             struct arena *scratch, const char **ret, struct err *unreadable, struct err *err)
{
    struct names names;
    int64_t best = -1;
    enum err_code rc = list(dir, "", suffix, scratch, &names, err);

    *ret = NULL;
    for (int i = 0; !rc && i < names.n; i++) {
        struct arena_mark mark = arena_mark(scratch);
        struct err other = { 0 };
        struct tensor_file file;
        const char *path;
        int64_t bytes;

        rc = join(dir, names.list[i], a, &path, err);
        if (rc || !is_there(path, &bytes) || bytes <= best || (max_bytes && bytes > max_bytes))
            continue;
        if (tensor_file_open(path, scratch, &file, unreadable) == ERR_OK && probe(&file, &other) == ERR_OK) {
            *ret = path;
            best = bytes;
        }
        arena_rewind(scratch, mark);
    }
    return rc;
}

static enum err_code chosen(const char *dir, const char *choice, struct arena *a, const char **ret, struct err *err)
{
    enum err_code rc = join(dir, choice, a, ret, err);

    if (rc || is_there(*ret, NULL))
        return rc;
    if (!is_there(choice, NULL))
        return err_set(err, ERR_NOT_FOUND, "%s: no transformer '%s'", dir, choice);
    *ret = choice;
    return ERR_OK;
}

enum err_code model_dir_transformer(const char *dir, const char *choice, int64_t max_bytes, struct arena *a,
                                    struct arena *scratch, const char **ret, struct err *err)
{
    struct arena_mark mark = arena_mark(scratch);
    struct err unreadable = { 0 };
    enum err_code rc;

    if (choice && *choice)
        return chosen(dir, choice, a, ret, err);
    rc = largest(dir, ".gguf", max_bytes, probe_flux, a, scratch, ret, &unreadable, err);
    if (!rc && !*ret)
        rc = largest(dir, ".safetensors", max_bytes, probe_flux, a, scratch, ret, &unreadable, err);
    if (!rc && !*ret && unreadable.code)
        rc = err_set(err, unreadable.code, "%s", unreadable.msg);
    if (!rc && !*ret)
        rc = err_set(err, ERR_NOT_FOUND, "%s: no *.gguf or *.safetensors with a FLUX.1 transformer%s", dir,
                     max_bytes ? " that fits into memory" : "");
    arena_rewind(scratch, mark);
    return rc;
}

/* --- parts with fixed names --- */

enum err_code model_dir_vae(const char *dir, struct arena *a, const char **ret, struct err *err)
{
    static const char *const names[] = { "ae.safetensors", "vae/diffusion_pytorch_model.safetensors", NULL };

    return need_first_of(dir, "VAE", names, a, ret, err);
}

enum err_code model_dir_clip(const char *dir, struct arena *a, const char **ret, struct err *err)
{
    static const char *const names[] = { "text_encoder/model.safetensors", "clip_l.safetensors", NULL };

    return need_first_of(dir, "CLIP", names, a, ret, err);
}

enum err_code model_dir_t5_tokenizer(const char *dir, struct arena *a, const char **ret, struct err *err)
{
    static const char *const names[] = { "tokenizer_2/tokenizer.json", "tokenizer_2/spiece.model", NULL };

    return first_of(dir, names, a, ret, err);
}

enum err_code model_dir_clip_tokenizer(const char *dir, struct arena *a, const char **ret, struct err *err)
{
    const char *merges;
    enum err_code rc = join(dir, "tokenizer", a, ret, err);

    if (!rc)
        rc = join(*ret, "merges.txt", a, &merges, err);
    if (!rc && !is_there(merges, NULL))
        rc = err_set(err, ERR_NOT_FOUND, "%s: no CLIP tokenizer: tokenizer/merges.txt is missing", dir);
    return rc;
}

/* --- T5 --- */

/* A bare file name that is not in the list yet joins it. */
static enum err_code add_shard(const char *dir, struct span name, struct arena *a, struct model_files *ret,
                               struct err *err)
{
    char *path = NULL;
    enum err_code rc;

    if (name.len == 0 || name.ptr[0] == '.' || memchr(name.ptr, '/', name.len) || memchr(name.ptr, '\\', name.len))
        return err_set(err, ERR_CORRUPT, "%s: the shard index names '%.*s', which is no plain file name", dir,
                       SPAN_ARG(name));
    rc = arena_printf(a, &path, err, "%s/%.*s", dir, (int)name.len, name.ptr);
    if (rc)
        return rc;
    for (int i = 0; i < ret->n; i++)
        if (!strcmp(ret->paths[i], path))
            return ERR_OK;
    if (ret->n == WEIGHT_SET_MAX_FILES)
        return err_set(err, ERR_TOO_LARGE, "%s: the shard index names over %d files", dir, WEIGHT_SET_MAX_FILES);
    ret->paths[ret->n++] = path;
    return ERR_OK;
}

/* The values of "weight_map", a top-level member. */
static enum err_code read_index(const char *dir, struct span text, struct arena *a, struct model_files *ret,
                                struct err *err)
{
    struct json_scan s;
    enum json_event ev;
    bool in_map = false;
    enum err_code rc = ERR_OK;

    json_scan_init(&s, text);
    while (!rc && (ev = json_scan_next(&s)) > JSON_END) {
        if (ev == JSON_KEY && s.depth == 1)
            in_map = span_is(s.raw, "weight_map");
        else if (ev == JSON_STRING && s.depth == 2 && in_map)
            rc = s.escaped ? ERR_CORRUPT : add_shard(dir, s.raw, a, ret, err);
    }
    if (!rc && s.error)
        rc = ERR_CORRUPT;
    if (rc || ret->n == 0)
        return err_set(err, ERR_CORRUPT, "%s: the shard index cannot be read: %s", dir,
                       s.error ? s.error : "no plain file names in its weight_map");
    return ERR_OK;
}

static enum err_code add_all(const char *dir, const char *prefix, struct arena *a, struct arena *scratch,
                             struct model_files *ret, struct err *err)
{
    struct names names;
    enum err_code rc = list(dir, prefix, ".safetensors", scratch, &names, err);

    for (int i = 0; !rc && i < names.n; i++)
        rc = add_shard(dir, span_of(names.list[i]), a, ret, err);
    return rc;
}

/* text_encoder_2: by its index, else the whole file, else all that is called model*. */
static enum err_code t5_folder(const char *dir, struct arena *a, struct arena *scratch, struct model_files *ret,
                               struct err *err)
{
    const char *folder, *index, *whole;
    struct span text;
    enum err_code rc = join(dir, "text_encoder_2", a, &folder, err);

    if (!rc)
        rc = join(folder, "model.safetensors.index.json", a, &index, err);
    if (!rc)
        rc = join(folder, "model.safetensors", a, &whole, err);
    if (rc)
        return rc;
    if (is_there(index, NULL)) {
        rc = file_read(index, MODEL_DIR_MAX_INDEX_BYTES, scratch, &text, err);
        return rc ? rc : read_index(folder, text, a, ret, err);
    }
    if (!is_there(whole, NULL))
        return add_all(folder, "model", a, scratch, ret, err);
    ret->paths[ret->n++] = whole;
    return ERR_OK;
}

static enum err_code t5_gguf(const char *dir, struct arena *a, struct arena *scratch, struct model_files *ret,
                             struct err *err)
{
    struct err unreadable = { 0 };
    const char *path;
    enum err_code rc = largest(dir, ".gguf", 0, probe_t5, a, scratch, &path, &unreadable, err);

    if (!rc && path)
        ret->paths[ret->n++] = path;
    if (!rc && !path && unreadable.code)
        rc = err_set(err, unreadable.code, "%s", unreadable.msg);
    return rc;
}

enum err_code model_dir_t5(const char *dir, struct arena *a, struct arena *scratch, struct model_files *ret,
                           struct err *err)
{
    struct arena_mark mark = arena_mark(scratch);
    enum err_code rc;

    ret->n = 0;
    rc = t5_folder(dir, a, scratch, ret, err);
    if (!rc && ret->n == 0) {
        rc = add_all(dir, "t5xxl", a, scratch, ret, err);
        ret->n = ret->n > 1 ? 1 : ret->n; /* several: different precisions of one thing */
    }
    if (!rc && ret->n == 0)
        rc = t5_gguf(dir, a, scratch, ret, err);
    if (!rc && ret->n == 0)
        rc = err_set(err, ERR_NOT_FOUND,
                     "%s: no T5: neither text_encoder_2/model*.safetensors nor t5xxl*.safetensors nor a T5 GGUF", dir);
    arena_rewind(scratch, mark);
    return rc;
}

enum err_code model_files_open(const struct model_files *files, struct arena *a, struct tensor_file **ret,
                               struct err *err)
{
    enum err_code rc = arena_alloc(a, (size_t)files->n, sizeof **ret, ret, err);

    for (int i = 0; !rc && i < files->n; i++)
        rc = tensor_file_open(files->paths[i], a, &(*ret)[i], err);
    return rc;
}
