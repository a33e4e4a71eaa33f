#include "models/file/tensor_file.h"

#include <string.h>

#include "models/file/file_map.h"
#include "models/file/gguf.h"
#include "models/file/name_index.h"
#include "models/file/safetensors.h"

static bool looks_like_safetensors(struct span map)
{
    uint64_t n;

    if (map.len < 9 || map.ptr[8] != '{')
        return false;
    memcpy(&n, map.ptr, sizeof n);
    return n <= UINT32_MAX; /* bytes 4 to 7 are zero; the reader decides whether n is acceptable */
}

bool tensor_file_begins(struct span start)
{
    return span_starts(start, "GGUF") || looks_like_safetensors(start);
}

/* Recognises what is found under a model's name by mistake; NULL: none of these. */
static const char *guess_content(struct span map)
{
    static const struct {
        const char *start, *what;
    } known[] = {
        { "version https://git-lfs", "a Git LFS pointer, not the file itself" },
        { "PK\x03\x04", "a PyTorch checkpoint or other archive" },
        { "\x80\x02", "a pickled PyTorch checkpoint" },
        { "<", "a web page or XML" },
        { "ggjt", "a GGML file from before GGUF" },
        { "FUGG", "a GGUF file in big-endian byte order" },
        { "{", "JSON" },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (span_starts(map, known[i].start))
            return known[i].what;
    return NULL;
}

static enum err_code refuse(const char *path, struct span map, struct err *err)
{
    const char *content = guess_content(map);

    if (!content)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s is neither GGUF nor safetensors; fetch the file itself, or take it out of the folder", path);
    return err_set(err, ERR_UNSUPPORTED, "%s is %s; fetch a GGUF or safetensors file in its place", path, content);
}

static enum err_code parse(const char *path, struct span map, bool survey, struct arena *a, struct tensor_file *ret,
                           struct err *err)
{
    struct tensor_file f = { .path = path };
    enum err_code rc;

    if (span_starts(map, "GGUF"))
        rc = (survey ? gguf_survey : gguf_parse)(map, a, &f, err);
    else if (looks_like_safetensors(map))
        rc = (survey ? safetensors_survey : safetensors_parse)(map, a, &f, err);
    else
        return refuse(path, map, err);
    if (rc == ERR_CORRUPT)
        (void)err_prefix(err, "%s is damaged or incomplete; fetch it again", path);
    else if (rc)
        (void)err_prefix(err, "%s", path);
    else
        *ret = f;
    return rc;
}

enum err_code tensor_file_parse(const char *path, struct span map, struct arena *a, struct tensor_file *ret,
                                struct err *err)
{
    return parse(path, map, false, a, ret, err);
}

enum err_code tensor_file_survey_start(const char *path, struct span start, struct arena *a, struct tensor_file *ret,
                                       struct err *err)
{
    return parse(path, start, true, a, ret, err);
}

static enum err_code map_and_parse(const char *path, bool survey, struct arena *a, struct tensor_file *ret,
                                   struct err *err)
{
    struct span map = { 0 };
    char *name = NULL;

    TRY(span_dup(a, span_of(path), &name, err));
    TRY(file_map_open(name, a, &map, err));
    return file_map_verdict(parse(name, map, survey, a, ret, err), err);
}

static enum err_code open_file(const char *path, bool survey, struct arena *a, struct tensor_file *ret, struct err *err)
{
    struct arena_mark mark = arena_mark(a);
    enum err_code rc = map_and_parse(path, survey, a, ret, err);

    if (rc)
        arena_rewind(a, mark); /* unmaps a refused file */
    return rc;
}

enum err_code tensor_file_open(const char *path, struct arena *a, struct tensor_file *ret, struct err *err)
{
    return open_file(path, false, a, ret, err);
}

enum err_code tensor_file_survey(const char *path, struct arena *a, struct tensor_file *ret, struct err *err)
{
    return open_file(path, true, a, ret, err);
}

const struct tensor_entry *tensor_file_find(const struct tensor_file *f, struct span name)
{
    int i = name_index_find(f->index, f->entries, f->n_entries, sizeof *f->entries, name);

    return i < 0 ? NULL : &f->entries[i];
}

size_t tensor_file_expanded_bytes(const struct tensor_file *f)
{
    size_t n = 0;

    for (int i = 0; i < f->n_entries; i++) {
        const struct dtype_info *info;

        if (f->entries[i].dtype == DT_COUNT)
            continue;
        info = dtype_info(f->entries[i].dtype);
        n += f->entries[i].bytes / (size_t)info->block_bytes * (size_t)info->block_elems;
    }
    return 2 * n;
}
