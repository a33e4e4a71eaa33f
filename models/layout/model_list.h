/*
 * model_list - what lies in a model folder: every file that may be a part of a model, with its kind.
 *
 * The folder itself and the sub-folders of ComfyUI and of diffusers are looked at, one level deep; hidden names are
 * not. One entry stands for one model file: a *.gguf, *.safetensors or *.sft; the first of a GGUF in several files; a
 * *.safetensors.index.json with the files that it lists; a file that a download has not finished; a pickle. Nothing
 * but directories of tensors is read, and nothing waits: not for a pipe, not for a device.
 */
#ifndef MODELS_LAYOUT_MODEL_LIST_H
#define MODELS_LAYOUT_MODEL_LIST_H

#include "models/layout/file_kind.h"

enum { MODEL_LIST_MAX_NAMES = 32768 }; /* of model files in one folder */

/* The folders that are looked at, from 0 on: "" for the model folder itself, then "unet" and others in it, without that
 * of LoRAs; NULL: no more. */
const char *model_list_folder(int i);

/* Whether a file of this name is one of tensors: .gguf, .safetensors, .sft. */
bool model_list_is_tensor_file(const char *name);

struct model_file {
    const char *name; /* in the folder: "unet/flux1-fill-dev-Q8_0.gguf" */
    const char *path;
    struct file_seen seen;
    int64_t bytes; /* of all its files, as long as they should be; INT64_MAX: unknown */
    enum err_code rc;
    const char *problem; /* why it cannot be read, or what is missing, after "FILE "; "": nothing */
    bool leads_nowhere;  /* a link without a target */
};

struct model_list {
    struct model_file *files; /* the folder's own first, then those of its sub-folders, each in order of names */
    int n;
};

/* with_loras: those in loras/ too, which are no part of a model. Everything is from the arena. ERR_NOT_FOUND, ERR_IO: a
 * folder cannot be read; ERR_TOO_LARGE: too many files; ERR_NOMEM. A file that cannot be read is an entry. */
MUST_CHECK enum err_code model_list_scan(const char *dir, bool with_loras, struct arena *a, struct model_list *ret,
                                         struct err *err);

/* One file: `name` is taken as it is, where the path is given. */
MUST_CHECK enum err_code model_list_see(const char *name, const char *path, struct arena *a, struct model_file *ret,
                                        struct err *err);

/* "is FLUX.1-schnell: it has 64 input channels ...; take a file of FLUX.1-Fill-dev", after the file's name. Without
 * `whole` only what it is. Returns ret. */
enum { MODEL_FILE_TEXT_SIZE = 3 * FILE_TEXT_SIZE + 40 };
const char *model_file_text(const struct model_file *f, bool whole, char ret[MODEL_FILE_TEXT_SIZE]);

#endif
