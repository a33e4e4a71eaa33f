/*
 * limits - takes resources away from the process that runs a test. Aborts when the system refuses.
 */
#ifndef TEST_SUPPORT_LIMITS_H
#define TEST_SUPPORT_LIMITS_H

#include <stddef.h>
#include <sys/resource.h>

/* From now on, for good, the process gets only so many more bytes of address space. */
void limit_address_space(size_t more);

/* From now on the process opens no file; returns what to give to setrlimit(RLIMIT_NOFILE) afterwards. */
struct rlimit limit_files(void);

#endif
