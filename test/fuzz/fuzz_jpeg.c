/* fuzz_jpeg - any bytes as a JPEG file: pixels and notes. The small arena refuses large ones, which keeps a run short.
 */
#include <stdint.h>
#include <stdlib.h>

#include "models/codec/jpeg.h"
#include "models/codec/jpeg_notes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span file = { (const char *)data, size };
    struct arena a = { 0 };
    struct image_notes notes;
    struct image im;

    if (arena_init(&a, 8 << 20, NULL))
        abort();
    (void)!jpeg_notes(&a, file, &notes, NULL);
    (void)!jpeg_read(&a, file, &im, &notes, NULL);
    arena_done(&a);
    return 0;
}
