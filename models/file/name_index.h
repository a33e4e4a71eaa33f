/*
 * name_index - finds structs by name. Each of n structs, `stride` bytes apart, begins with its name, a struct span.
 *
 * A sorted table rather than a hash table: the names come from files, and no choice of names makes the search slow.
 */
#ifndef MODELS_FILE_NAME_INDEX_H
#define MODELS_FILE_NAME_INDEX_H

#include "kernels/base/arena.h"
#include "kernels/base/span.h"

/* Sorts the numbers 0 .. n-1 by name. *ret_twice: the number of a struct whose name occurs twice, or -1. */
MUST_CHECK enum err_code name_index_build(struct arena *a, const void *first, int n, size_t stride, int **ret,
                                          int *ret_twice, struct err *err);
int name_index_find(const int *index, const void *first, int n, size_t stride, struct span name); /* -1: absent */

#endif
