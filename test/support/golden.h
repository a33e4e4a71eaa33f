/*
 * golden - where the official numbers lie. `small`, `gguf`, `common` and `pictures` are in test/golden; the larger
 * sets are looked for in $GOLDEN_DIR, else ../shared/golden, and a test that needs an absent one is skipped.
 */
#ifndef TEST_SUPPORT_GOLDEN_H
#define TEST_SUPPORT_GOLDEN_H

/* Path of test/golden/REL or of $GOLDEN_DIR/REL, in one of a few static buffers; skips the test when neither is. */
const char *golden(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
