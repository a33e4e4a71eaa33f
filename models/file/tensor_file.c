#include "models/file/tensor_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "models/file/gguf.h"
#include "models/file/name_index.h"
#include "models/file/safetensors.h"

struct mapping {
    void *start;
    size_t bytes;
};

static void unmap(void *mapping)
{
    struct mapping *m = mapping;

    (void)munmap(m->start, m->bytes);
}

static enum err_code check_stat(const struct stat *st, const char *path, struct err *err)
{
    if (!S_ISREG(st->st_mode))
        return err_set(err, ERR_IO, "%s: not a regular file", path);
    if (st->st_size == 0)
        return err_set(err, ERR_CORRUPT, "%s: empty", path);
    return ERR_OK;
}

static enum err_code map_file(const char *path, struct arena *a, struct span *ret, struct err *err)
{
    struct mapping *m = NULL;
    struct stat st;
    enum err_code rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %m", path);
    rc = fstat(fd, &st) ? err_set(err, ERR_IO, "%s: %m", path) : check_stat(&st, path, err);
    if (rc)
        goto out;
    rc = arena_alloc(a, 1, sizeof *m, &m, err);
    if (rc)
        goto out;
    m->bytes = (size_t)st.st_size;
    m->start = mmap(NULL, m->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (m->start == MAP_FAILED) {
        rc = err_set(err, ERR_IO, "%s: cannot be mapped: %m", path);
        goto out;
    }
    rc = arena_defer(a, unmap, m, err);
    if (rc)
        unmap(m);
    else
        *ret = (struct span){ m->start, m->bytes };
out:
    (void)close(fd);
    return rc;
}

static bool looks_like_safetensors(struct span map)
{
    uint64_t n;

    if (map.len < 9 || map.ptr[8] != '{')
        return false;
    memcpy(&n, map.ptr, sizeof n);
    return n <= UINT32_MAX; /* bytes 4 to 7 are zero; whether n is acceptable, the reader says */
}

/* Things that lie under a model's name by mistake. */
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
        { "FUGG", "a GGUF file of the other byte order" },
        { "{", "JSON" },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (span_starts(map, known[i].start))
            return known[i].what;
    return "neither GGUF nor safetensors";
}

enum err_code tensor_file_parse(const char *path, struct span map, struct arena *a, struct tensor_file *ret,
                                struct err *err)
{
    struct tensor_file f = { .path = path };
    enum err_code rc;

    if (span_starts(map, "GGUF"))
        rc = gguf_parse(map, a, &f, err);
    else if (looks_like_safetensors(map))
        rc = safetensors_parse(map, a, &f, err);
    else
        return err_set(err, ERR_UNSUPPORTED, "%s: %s", path, guess_content(map));
    if (rc) {
        (void)err_prefix(err, "%s", path);
        return rc;
    }
    *ret = f;
    return ERR_OK;
}

enum err_code tensor_file_open(const char *path, struct arena *a, struct tensor_file *ret, struct err *err)
{
    struct arena_mark mark = arena_mark(a);
    struct span map = { 0 };
    char *name = NULL;
    enum err_code rc = span_dup(a, span_of(path), &name, err);

    if (!rc)
        rc = map_file(name, a, &map, err);
    if (!rc)
        rc = tensor_file_parse(name, map, a, ret, err);
    if (rc)
        arena_rewind(a, mark); /* runs the clean-up, so a refused file stays neither open nor mapped */
    return rc;
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
        const struct dtype_info *info = dtype_info(f->entries[i].dtype);

        n += f->entries[i].bytes / (size_t)info->block_bytes * (size_t)info->block_elems;
    }
    return 2 * n;
}
