#include "test/support/outputs.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static void send_to(int fd, const char *path)
{
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);

    (void)dup2(to, fd);
    (void)close(to);
}

struct outputs outputs_redirect(const char *path)
{
    struct outputs o = { dup(STDOUT_FILENO), dup(STDERR_FILENO) };

    (void)fflush(stdout);
    send_to(STDOUT_FILENO, path ? path : "/dev/null");
    send_to(STDERR_FILENO, "/dev/null");
    return o;
}

void outputs_errors_to(const char *path)
{
    send_to(STDERR_FILENO, path);
}

void outputs_restore(const struct outputs *o)
{
    (void)fflush(stdout);
    (void)dup2(o->out, STDOUT_FILENO);
    (void)dup2(o->errors, STDERR_FILENO);
    (void)close(o->out);
    (void)close(o->errors);
}
