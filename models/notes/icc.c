#include "models/notes/icc.h"

#include <stdint.h>

enum { ICC_HEADER_BYTES = 128, ICC_AT_SPACE = 16, ICC_AT_SIGNATURE = 36 };

static bool is_for(struct span profile, const char *space)
{
    return profile.len >= ICC_HEADER_BYTES && profile.len <= ICC_MAX_BYTES &&
           span_be32(profile.ptr) >= ICC_HEADER_BYTES && span_be32(profile.ptr) <= profile.len &&
           memcmp(profile.ptr + ICC_AT_SPACE, space, 4) == 0 && memcmp(profile.ptr + ICC_AT_SIGNATURE, "acsp", 4) == 0;
}

bool icc_is_rgb(struct span profile)
{
    return is_for(profile, "RGB ");
}

bool icc_is_grey(struct span profile)
{
    return is_for(profile, "GRAY");
}

bool icc_is_cmyk(struct span profile)
{
    return is_for(profile, "CMYK");
}
