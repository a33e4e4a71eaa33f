/*
 * jail - decodes a file from outside in a process of its own that has no rights (sandbox.h), so that a decoder that
 * crashes, never ends or is taken over costs one job and nothing else.
 *
 * The process is this program, started again with the word JAIL_WORD: a program with threads and a device cannot fork.
 * It gets the file in memory that nobody can change any more, one file to answer into (reply.h), an empty environment,
 * and no other descriptor. It dies with the thread that asked. The answer is mapped, not copied: the pixels are the
 * caller's to change, and are unmapped when the arena is rewound.
 *
 * A program that decodes in a jail calls jail_child() first in main() where jail_is_child() says so. Safe to use from
 * many threads at once. Needs Linux 5.9 and /proc.
 *
 * Errors  those of the decoder; ERR_CORRUPT the decoder crashed, or its answer is nonsense; ERR_TOO_LARGE it took more
 *         memory or time than it has; ERR_NOMEM the system has no memory for the process, or killed it;
 *         ERR_UNAVAILABLE there is no jail, or a signal from elsewhere ended it
 */
#ifndef MODELS_JAIL_JAIL_H
#define MODELS_JAIL_JAIL_H

#include <stdbool.h>

#include "models/image/image.h"

#define JAIL_WORD "decode-jail" /* the first argument of the jailed process; nothing that people type */

enum { JAIL_WALL_MS = 60000, JAIL_CPU_S = 60, JAIL_OPTIONS_MAX = 512 /* bytes */ };

struct jail_limits {
    int64_t arena_bytes;  /* address space of the decoder's arena */
    int64_t memory_bytes; /* address space of all that the decoder takes, the arena too */
    int64_t answer_bytes;
    int wall_ms, cpu_s;
};

/* What the jailed process runs. Both get the file that the parent has; `options` are the parent's bytes. */
struct jail_program {
    void (*prepare)(struct span file); /* opens what needs files, before the rights are given up; NULL: nothing */
    enum err_code (*decode)(struct arena *a, struct span file, const void *options, struct image *ret,
                            struct image_notes *ret_notes, struct err *err);
};

/* For pictures of at most so many pixels; 0: IMAGE_MAX_PIXELS. */
struct jail_limits jail_limits_for(int64_t max_pixels);

/* NULL: the jail works here, which was tried with two jailed processes when it was asked first; else why it does not,
 * as half a sentence. The text lives as long as the process. */
const char *jail_unavailable_reason(void);

/* `options`: at most JAIL_OPTIONS_MAX bytes without pointers, for the decoder. ret_notes may be NULL. */
MUST_CHECK enum err_code jail_decode(struct arena *a, struct span file, struct span options,
                                     const struct jail_limits *limits, struct image *ret, struct image_notes *ret_notes,
                                     struct err *err);

/* Whether this process was started to be jailed. */
bool jail_is_child(int argc, char **argv);

/* The life of the jailed process: returns what it exits with, at once and without running hooks. */
int jail_child(const struct jail_program *program);

#endif
