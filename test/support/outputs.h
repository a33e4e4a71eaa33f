/*
 * outputs - where the process under test writes meanwhile: stdout into a file or nowhere, stderr nowhere.
 */
#ifndef TEST_SUPPORT_OUTPUTS_H
#define TEST_SUPPORT_OUTPUTS_H

struct outputs {
    int out, errors; /* those of before */
};

struct outputs outputs_redirect(const char *path); /* NULL: nowhere. No CHECK until they are back */
void outputs_restore(const struct outputs *o);

#endif
