/*
 * processor - a function marked EVERY_PROCESSOR is compiled for plain x86-64, for AVX2 and for AVX-512, and the variant
 * is chosen when the program starts. For loops that the compiler turns into vector code; their helpers must be
 * INLINE_HOT, because only inlined code is compiled again. All variants give the same results, since products are not
 * fused with sums.
 */
#ifndef KERNELS_BASE_PROCESSOR_H
#define KERNELS_BASE_PROCESSOR_H

/* Not with ThreadSanitizer, which is not yet initialised when the variant is chosen. */
#if defined(__x86_64__) && !defined(__clang__) && __GNUC__ >= 12 && !defined(__SANITIZE_THREAD__)
#define EVERY_PROCESSOR __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define EVERY_PROCESSOR
#endif

#define INLINE_HOT static inline __attribute__((always_inline))

#endif
