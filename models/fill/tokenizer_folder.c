#include "models/fill/tokenizer_folder.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/file.h"

/* Readers of vocabularies say what is wrong with a file; what to do is the same for all of them. */
static enum err_code with_remedy(enum err_code rc, struct err *err)
{
    if (rc == ERR_CORRUPT && err && !strstr(err->msg, "fetch")) {
        size_t n = strlen(err->msg);

        (void)snprintf(err->msg + n, sizeof err->msg - n, "; fetch the file again");
    }
    return rc;
}

enum err_code t5_tokenizer_find(struct t5_tokenizer *t, const struct model_folder *folder, struct arena *a,
                                struct arena *scratch, struct err *err)
{
    struct tensor_file gguf;
    struct model_found found;

    TRY(model_folder_find(folder, MODEL_T5_TOKENIZER, a, &found, err));
    if (found.kind != MODEL_GGUF_VOCABULARY)
        return with_remedy(t5_tokenizer_open(t, found.path, a, scratch, err), err);
    TRY(tensor_file_open(found.path, a, &gguf, err));
    return with_remedy(t5_tokenizer_open_gguf(t, gguf.gguf, a, scratch, err), err);
}

enum err_code clip_tokenizer_find(struct clip_tokenizer *t, const struct model_folder *folder, struct arena *a,
                                  struct arena *scratch, struct err *err)
{
    struct model_found found;
    const char *its_folder = NULL;

    TRY(model_folder_find(folder, MODEL_CLIP_TOKENIZER, a, &found, err));
    TRY(file_folder(found.path, a, &its_folder, err));
    return with_remedy(clip_tokenizer_open(t, its_folder, a, scratch, err), err);
}
