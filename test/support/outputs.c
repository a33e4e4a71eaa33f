#include "test/support/outputs.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "test/support/bytes.h"
#include "test/support/check.h"

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

static void read_text(const char *path, char ret[8192])
{
    FILE *f = fopen(path, "r");

    CHECK(f);
    ret[fread(ret, 1, 8191, f)] = '\0';
    (void)fclose(f);
}

int outputs_of(int (*cmd)(int, char **), const char *const *words, struct outputs_text *ret)
{
    enum { MOST_WORDS = 40 };
    const char *out_path = temp_path("out.txt"), *errors_path = temp_path("errors.txt");
    struct outputs before;
    char *argv[MOST_WORDS + 1];
    int argc = 0, status;

    for (; words[argc] && argc < MOST_WORDS; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc];
    CHECK(!words[argc]);
    argv[argc] = NULL;
    before = outputs_redirect(out_path);
    outputs_errors_to(errors_path);
    status = cmd(argc, argv);
    outputs_restore(&before);
    read_text(out_path, ret->out);
    read_text(errors_path, ret->errors);
    return status;
}
