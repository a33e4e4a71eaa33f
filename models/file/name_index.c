#include "models/file/name_index.h"

#include <stdlib.h>
#include <string.h>

struct name_table {
    const char *first;
    size_t stride;
};

static struct span name_of(const struct name_table *t, int i)
{
    return *(const struct span *)(t->first + (size_t)i * t->stride);
}

static int compare(struct span a, struct span b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.ptr, b.ptr, n) : 0;

    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_entries(const void *x, const void *y, void *table)
{
    return compare(name_of(table, *(const int *)x), name_of(table, *(const int *)y));
}

enum err_code name_index_build(struct arena *a, const void *first, int n, size_t stride, int **ret, int *ret_twice,
                               struct err *err)
{
    struct name_table t = { first, stride };
    int *index = NULL;

    TRY(arena_alloc(a, (size_t)n, sizeof *index, &index, err));
    for (int i = 0; i < n; i++)
        index[i] = i;
    qsort_r(index, (size_t)n, sizeof *index, compare_entries, &t);
    *ret_twice = -1;
    for (int i = 1; i < n && *ret_twice < 0; i++)
        if (span_eq(name_of(&t, index[i - 1]), name_of(&t, index[i])))
            *ret_twice = index[i];
    *ret = index;
    return ERR_OK;
}

int name_index_find(const int *index, const void *first, int n, size_t stride, struct span name)
{
    struct name_table t = { first, stride };
    int low = 0, high = n;

    while (low < high) {
        int middle = low + (high - low) / 2, order = compare(name, name_of(&t, index[middle]));

        if (order == 0)
            return index[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}
