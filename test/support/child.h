/*
 * child - a process that runs tests one after another on request, so that a crash or a hang ends that process and not
 * the run. It is forked from a parent without threads, in a process group of its own, and dies with its parent.
 */
#ifndef TEST_SUPPORT_CHILD_H
#define TEST_SUPPORT_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

struct test;

enum outcome {
    PASSED,
    FAILED,
    SKIPPED,
    NO_DEVICE, /* from the gate: this machine cannot run any of the tests */
    STOPPED,   /* from the gate: the device is lost, or cannot be opened */
    N_OUTCOMES
};

struct result {
    enum outcome outcome;
    char reason[400]; /* why the test did not pass; empty for PASSED */
};

struct child {
    pid_t pid; /* 0: there is none */
    int link;  /* the parent's end: tests go down, results come up */
    bool is_dead;
    int status; /* of a dead child, as waitpid() has it */
};

/* Forks; in the child, `run` is called for every test asked for. False, with errno set, when the system refuses. */
bool child_start(struct child *c, void (*run)(const struct test *t, struct result *ret));

/* Runs one test. A child that dies on it, or that takes more than `limit_s` seconds (0: any time) and is killed for it,
 * gives FAILED with the signal, the status or the limit as the reason, and is reaped. */
void child_run(struct child *c, const struct test *t, int limit_s, struct result *ret);

/* Lets the child leave through exit(), where sanitizers look for leaks. If its status is not 0, or it takes too long,
 * `ret`, the result of its last test, becomes FAILED, unless it is FAILED already. */
void child_end(struct child *c, int limit_s, struct result *ret);

#endif
