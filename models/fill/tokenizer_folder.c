#include "models/fill/tokenizer_folder.h"

enum err_code t5_tokenizer_find(struct t5_tokenizer *t, const struct model_folder *folder, struct arena *a,
                                struct arena *scratch, struct err *err)
{
    struct tensor_file gguf;
    struct model_found found;

    TRY(model_folder_find(folder, MODEL_T5_TOKENIZER, a, &found, err));
    if (found.kind != MODEL_GGUF_VOCABULARY)
        return t5_tokenizer_open(t, found.path, a, scratch, err);
    TRY(tensor_file_open(found.path, a, &gguf, err));
    return t5_tokenizer_open_gguf(t, gguf.gguf, a, scratch, err);
}

enum err_code clip_tokenizer_find(struct clip_tokenizer *t, const struct model_folder *folder, struct arena *a,
                                  struct arena *scratch, struct err *err)
{
    struct model_found found;
    const char *slash;
    char *its_folder = NULL;

    TRY(model_folder_find(folder, MODEL_CLIP_TOKENIZER, a, &found, err));
    slash = strrchr(found.path, '/');
    TRY(span_dup(a, slash ? (struct span){ found.path, (size_t)(slash - found.path) } : SPAN("."), &its_folder, err));
    return clip_tokenizer_open(t, its_folder, a, scratch, err);
}
