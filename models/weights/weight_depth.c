#include "models/weights/weight_depth.h"

#include <string.h>

/* The number between `stem` and the next dot, at most `max`; -1: the name does not match. */
static int index_after(struct span name, const char *prefix, const char *stem, int max)
{
    size_t at = strlen(prefix), start;
    int n = 0;

    if (!span_starts(name, prefix))
        return -1;
    if (!span_starts((struct span){ name.ptr + at, name.len - at }, stem))
        return -1;
    start = at += strlen(stem);
    for (; at < name.len && name.ptr[at] >= '0' && name.ptr[at] <= '9'; at++) {
        n = 10 * n + (name.ptr[at] - '0');
        n = n < max ? n : max;
    }
    return at > start && at < name.len && name.ptr[at] == '.' ? n : -1;
}

int weight_depth(const struct weight_set *set, const char *stem, int max)
{
    struct weight_names names;
    int depth = 0;

    if (set->rename && !set->rename(stem, &names))
        return 0;
    if (set->rename)
        stem = names.name[0];

    for (int f = 0; f < set->n_files; f++) {
        for (int e = 0; e < set->files[f]->n_entries; e++) {
            int n = index_after(set->files[f]->entries[e].name, set->prefix, stem, max);
            if (n >= depth)
                depth = n + 1;
        }
    }
    return depth;
}
