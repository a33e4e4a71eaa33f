/* fuzz_webp - any bytes as a WebP file: pixels and notes. The small arena refuses large ones, which keeps a run short.
 */
#include <stdint.h>
#include <stdlib.h>

#include "models/codec/webp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span file = { (const char *)data, size };
    struct arena a = { 0 };
    struct image_notes notes;
    struct image im;

    if (arena_init(&a, 8 << 20, NULL))
        abort();
    (void)!webp_read(&a, file, size % 2 ? IMAGE_ALPHA_ON_WHITE : IMAGE_ALPHA_ON_BLACK, &im, &notes, NULL);
    arena_done(&a);
    return 0;
}
