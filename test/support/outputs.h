/*
 * outputs - redirects what the code under test prints: stdout to a file or to nowhere, stderr to nowhere.
 */
#ifndef TEST_SUPPORT_OUTPUTS_H
#define TEST_SUPPORT_OUTPUTS_H

struct outputs {
    int out, errors; /* the descriptors before the redirection */
};

/* path NULL: nowhere. A CHECK that fails before outputs_restore() prints nothing. */
struct outputs outputs_redirect(const char *path);
/* Between the two: stderr goes to this file instead of nowhere. */
void outputs_errors_to(const char *path);
void outputs_restore(const struct outputs *o);

/* What one command printed, cut to the room that there is. */
struct outputs_text {
    char out[8192], errors[8192];
};

/* Runs cmd(argc, argv) with these words, of which the last is followed by NULL, and returns its exit status. */
int outputs_of(int (*cmd)(int, char **), const char *const *words, struct outputs_text *ret);

#endif
