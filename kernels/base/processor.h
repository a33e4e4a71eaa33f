/*
 * processor - EVERY_PROCESSOR before a function has it compiled for plain x86-64, for AVX2 and for AVX-512, and chosen
 * when the program starts. For loops that the compiler turns into vector code; helpers in them must be INLINE_HOT, for
 * only what is inlined is compiled again. The results are the same everywhere: products are not fused with sums.
 */
#ifndef KERNELS_BASE_PROCESSOR_H
#define KERNELS_BASE_PROCESSOR_H

/* ThreadSanitizer cannot yet be entered when the choice is made. */
#if defined(__x86_64__) && !defined(__clang__) && __GNUC__ >= 12 && !defined(__SANITIZE_THREAD__)
#define EVERY_PROCESSOR __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define EVERY_PROCESSOR
#endif

#define INLINE_HOT static inline __attribute__((always_inline))

#endif
