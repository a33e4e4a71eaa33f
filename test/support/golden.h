/*
 * golden - finds files of the golden sets, which hold the official numbers. The sets `small`, `gguf`, `common`, `demo`
 * and `pictures` are part of the repository (test/golden). The larger ones are optional: they are looked for in
 * $GOLDEN_DIR and in ../shared/golden, and a test that needs an absent one is skipped.
 */
#ifndef TEST_SUPPORT_GOLDEN_H
#define TEST_SUPPORT_GOLDEN_H

/* The path of a file "SET/...", in one of a few static buffers. Skips the test when the file is nowhere; fails it when
 * the set is part of the repository and CI is set in the environment, because then the checkout is damaged. */
const char *golden(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
