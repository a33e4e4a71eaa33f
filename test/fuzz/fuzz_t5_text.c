/* fuzz_t5_text - any text through the T5 tokenizer of the small golden set. */
#include <stdint.h>
#include <stdlib.h>

#include "models/text/t5_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VOCABULARY "test/golden/small/models/tokenizer_2/spiece.model" /* from the root of the repository */

static struct t5_tokenizer *tokenizer(struct arena *scratch)
{
    static struct arena model;
    static struct t5_tokenizer t;

    if (!model.base &&
        (arena_init(&model, T5_SCRATCH_BYTES, NULL) || t5_tokenizer_open(&t, VOCABULARY, &model, scratch, NULL)))
        abort();
    return &t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct arena scratch;
    int32_t ids[T5_MAX_TOKENS];
    const struct t5_tokenizer *t;
    int n = 0;

    if (!scratch.base && arena_init(&scratch, T5_SCRATCH_BYTES, NULL))
        abort();
    t = tokenizer(&scratch);
    if (!t5_tokenize(t, (struct span){ (const char *)data, size }, T5_MAX_TOKENS, ids, &n, &scratch, NULL) &&
        (n < 1 || n > T5_MAX_TOKENS || ids[n - 1] != t->eos_id))
        abort();
    if (scratch.used)
        abort();
    return 0;
}
