/* fuzz_spiece - any bytes as a T5 vocabulary, JSON or protobuf by the first byte; if it opens, it tokenizes a text. */
#include <stdint.h>
#include <stdlib.h>

#include "models/text/t5_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct span text = SPAN("A white\tpaper  cup \xEF\xBC\xA1\xCC\x81</s>\xF0\x9F\x90\xB6");
    struct span file = { (const char *)data, size };
    struct arena a = { 0 };
    struct t5_tokenizer t;
    struct t5_vocab v;
    int32_t ids[64];
    int n = 0;

    if (arena_init(&a, T5_SCRATCH_BYTES, NULL))
        abort();
    if (size && !(data[0] == '{' ? t5_vocab_from_json(file, &a, &v, NULL) : t5_vocab_from_spiece(file, &a, &v, NULL)) &&
        !t5_tokenizer_init(&t, &v, &a, NULL)) {
        (void)!t5_tokenize(&t, text, 64, ids, &n, &a, NULL);
        for (int i = 0; i < n; i++)
            if (ids[i] < 0 || ids[i] > t.max_id)
                abort();
    }
    arena_done(&a);
    return 0;
}
