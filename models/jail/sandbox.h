/*
 * sandbox - a process gives up its rights: what it may still do is to compute and to write to its standard output.
 *
 * Limits    address space, processor time, bytes of a file that it writes, no new descriptors, no core file
 * Filter    a seccomp list of the system calls that decoders make: memory, time, threads of its own, the end. Any other
 *           call (a file, a socket, a process, a program) kills the process with SIGSYS.
 *
 * A build with a sanitizer has neither the limit on address space, which the sanitizer's shadow exceeds, nor the
 * filter, because the sanitizer opens files; SANDBOX_IS_WHOLE is false there.
 * Source  seccomp(2), setrlimit(2), prctl(2); the calls of glibc 2.36 to 2.41 as strace shows them
 */
#ifndef MODELS_JAIL_SANDBOX_H
#define MODELS_JAIL_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/err.h"

#ifndef __has_feature /* clang's way to say what gcc says by a macro */
#define __has_feature(x) 0
#endif
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__ || __has_feature(address_sanitizer) || \
    __has_feature(thread_sanitizer)
#define SANDBOX_IS_WHOLE false
#else
#define SANDBOX_IS_WHOLE true
#endif

struct sandbox_limits {
    int64_t memory_bytes; /* address space beyond what the process has when it asks */
    int64_t output_bytes; /* of the file on standard output */
    int cpu_s;            /* processor time, of all threads together */
};

/* First: what is quick to lose and needs no filter. `parent` is the process without which this one must not live. */
MUST_CHECK enum err_code sandbox_leave_parent(int64_t parent, struct err *err);

/* Last, and for good. ERR_UNAVAILABLE: the system refuses, or the program was built without libseccomp. */
MUST_CHECK enum err_code sandbox_enter(const struct sandbox_limits *limits, struct err *err);

/* Makes a call that the filter forbids. Returns only where there is no filter. */
void sandbox_try_the_door(void);

#endif
