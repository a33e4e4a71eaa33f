/* fuzz_clip_text - any text through the CLIP tokenizer of the small golden set; and the same bytes as vocabulary files.
 */
#include <stdint.h>
#include <stdlib.h>

#include "models/text/clip_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct clip_tokenizer *tokenizer(struct arena *scratch)
{
    static struct arena model;
    static struct clip_tokenizer t;

    if (!model.base && (arena_init(&model, CLIP_SCRATCH_BYTES, NULL) ||
                        clip_tokenizer_open(&t, "test/golden/small/models/tokenizer", &model, scratch, NULL)))
        abort(); /* run from the root of the repository */
    return &t;
}

/* Reads the bytes as merges.txt; if they begin with a brace, as each of the JSON files, next to an empty merges.txt. */
static void read_as_files(struct span bytes, struct arena *scratch)
{
    bool json = bytes.len && bytes.ptr[0] == '{';
    struct clip_files files = { .merges = json ? SPAN("") : bytes };
    struct arena tables = { 0 };
    struct clip_vocab v;

    if (json)
        files.vocab = files.config = files.special_map = bytes;
    if (arena_init(&tables, CLIP_SCRATCH_BYTES, NULL))
        abort();
    (void)!clip_vocab_read(&v, &files, &tables, scratch, NULL);
    arena_done(&tables);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct arena scratch;
    struct span bytes = { (const char *)data, size };
    int32_t ids[CLIP_MAX_IDS];
    const struct clip_tokenizer *t;
    int n = 0;

    if (!scratch.base && arena_init(&scratch, CLIP_SCRATCH_BYTES, NULL))
        abort();
    t = tokenizer(&scratch);
    if (!clip_tokenize(t, bytes, ids, &n, &scratch, NULL) &&
        (n < 2 || n > CLIP_MAX_IDS || ids[0] != t->vocab.special_id[CLIP_START] ||
         ids[n - 1] != t->vocab.special_id[CLIP_END]))
        abort();
    read_as_files(bytes, &scratch);
    if (scratch.used)
        abort();
    return 0;
}
