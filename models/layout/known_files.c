#include "models/layout/known_files.h"

enum { N_COLUMNS = 6, MAX_SIZE_DIGITS = 15 };

/* The file's bytes, put into the read-only data by the assembler, which looks for it in the root of the source. */
__asm__(".pushsection .rodata\n"
        ".global known_files_text\n"
        ".hidden known_files_text\n"
        "known_files_text:\n"
        ".incbin \"models/known_files\"\n"
        ".global known_files_text_end\n"
        ".hidden known_files_text_end\n"
        "known_files_text_end:\n"
        ".byte 0\n"
        ".popsection\n");
extern const char known_files_text[], known_files_text_end[];

/* --- the list --- */

/* A fact; "-" is none. */
static struct span fact(struct span column)
{
    return span_is(column, "-") ? (struct span){ 0 } : column;
}

static bool take_size(struct span column, int64_t *ret)
{
    int64_t v = 0;

    if (span_is(column, "-")) {
        *ret = -1;
        return true;
    }
    if (column.len == 0 || column.len > MAX_SIZE_DIGITS)
        return false;
    for (size_t i = 0; i < column.len; i++) {
        if (column.ptr[i] < '0' || column.ptr[i] > '9')
            return false;
        v = 10 * v + (column.ptr[i] - '0');
    }
    *ret = v;
    return v > 0;
}

static bool is_digest(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!(s.ptr[i] >= '0' && s.ptr[i] <= '9') && !(s.ptr[i] >= 'a' && s.ptr[i] <= 'f'))
            return false;
    return s.len == 0 || s.len == KNOWN_DIGEST_DIGITS;
}

/* Divides a line at its bars. */
static bool split(struct span line, struct span ret[N_COLUMNS])
{
    for (int i = 0; i < N_COLUMNS; i++) {
        const char *bar = memchr(line.ptr, '|', line.len);
        size_t n = bar ? (size_t)(bar - line.ptr) : line.len;

        if ((bar == NULL) != (i == N_COLUMNS - 1))
            return false;
        ret[i] = span_trimmed((struct span){ line.ptr, n });
        if (ret[i].len == 0)
            return false;
        line = (struct span){ line.ptr + n + (bar != NULL), line.len - n - (bar != NULL) };
    }
    return true;
}

static bool read_line(struct span line, struct known_file *ret)
{
    struct span column[N_COLUMNS];
    struct known_file f;

    if (!split(line, column))
        return false;
    f = (struct known_file){
        .name = column[0], .sha256 = fact(column[2]), .what = column[3], .source = column[4], .licence = fact(column[5])
    };
    if (!take_size(column[1], &f.bytes) || !is_digest(f.sha256))
        return false;
    *ret = f;
    return true;
}

bool known_file_next(size_t *at, struct known_file *ret, struct err *err)
{
    const size_t size = (size_t)(known_files_text_end - known_files_text);

    while (*at < size) {
        const char *from = known_files_text + *at, *end = memchr(from, '\n', size - *at);
        struct span line = { from, end ? (size_t)(end - from) : size - *at };

        *at += line.len + 1;
        if (line.len == 0 || *line.ptr == '#')
            continue;
        if (read_line(line, ret))
            return true;
        err_ignore(err_set(err, ERR_INTERNAL, "models/known_files: not a line of six facts: %.*s", SPAN_ARG(line)));
    }
    return false;
}

/* --- lookups --- */

bool known_file_by_digest(const char *sha256, struct known_file *ret)
{
    struct known_file f;

    for (size_t at = 0; known_file_next(&at, &f, NULL);)
        if (f.sha256.len && span_is(f.sha256, sha256)) {
            *ret = f;
            return true;
        }
    return false;
}

/* A path ends in a name where a slash or nothing is in front of it. */
static bool path_ends_in(struct span path, struct span name)
{
    if (path.len < name.len || memcmp(path.ptr + path.len - name.len, name.ptr, name.len) != 0)
        return false;
    return path.len == name.len || path.ptr[path.len - name.len - 1] == '/';
}

enum known_name known_file_by_name_and_size(const char *path, int64_t bytes, struct known_file *ret)
{
    enum known_name best = KNOWN_NOT;
    struct known_file f;

    for (size_t at = 0; known_file_next(&at, &f, NULL);) {
        if (!path_ends_in(span_of(path), f.name) || f.bytes < 0)
            continue;
        if (f.bytes == bytes) {
            *ret = f;
            return KNOWN_NAME_SIZE;
        }
        if (best == KNOWN_NOT && !memchr(f.name.ptr, '/', f.name.len)) {
            *ret = f;
            best = KNOWN_NAME_ONLY;
        }
    }
    return best;
}
