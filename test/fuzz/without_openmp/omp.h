/* omp - stands in for OpenMP's header where a reader is fuzzed: clang may lack that header, and loops have one thread.
 */
#ifndef TEST_FUZZ_WITHOUT_OPENMP_OMP_H
#define TEST_FUZZ_WITHOUT_OPENMP_OMP_H

static inline int omp_get_max_threads(void)
{
    return 1;
}

static inline int omp_get_thread_num(void)
{
    return 0;
}

#endif
