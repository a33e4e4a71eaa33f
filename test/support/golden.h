/*
 * golden - finds the files with official numbers. The sets `small`, `gguf`, `common` and `pictures` are in test/golden;
 * the larger sets are looked for in $GOLDEN_DIR, then in ../shared/golden, and a test that needs an absent set is
 * skipped.
 */
#ifndef TEST_SUPPORT_GOLDEN_H
#define TEST_SUPPORT_GOLDEN_H

/* The path of a file of a set, in one of a few static buffers. Skips the test when the file is nowhere. */
const char *golden(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
