/* fuzz_metadata - any bytes as Exif data: whatever is taken over can be written, and is then read again as it was. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "models/notes/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct exif_facts facts, again;
    struct arena a = { 0 };
    struct span tiff;

    exif_read_facts((struct span){ (const char *)data, size }, &facts);
    if (arena_init(&a, 1 << 20, NULL))
        abort();
    if (metadata_exif(&a, &(struct metadata_exif){ &facts, 640, 480, true }, &tiff, NULL))
        abort();
    exif_read_facts(tiff, &again);
    if (facts.copyright_len != again.copyright_len ||
        memcmp(&facts, &again, offsetof(struct exif_facts, copyright) + sizeof facts.copyright) != 0)
        abort();
    arena_done(&a);
    return 0;
}
