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

#endif
