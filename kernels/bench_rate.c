#include "kernels/bench_rate.h"

const char *bench_rate_name(enum rate_kind kind)
{
    static const char *const names[RATE_KINDS] = {
        [RATE_BF16] = "bf16 -> bf16",        [RATE_FP8] = "e4m3 -> bf16",      [RATE_INT8] = "int8 -> int32",
        [RATE_INT8_NARROW] = "int8 -> int8", [RATE_COPY] = "copy on the card",
    };

    return names[kind];
}
