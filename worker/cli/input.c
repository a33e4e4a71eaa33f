#include "worker/cli/input.h"

#include <string.h>

#include "kernels/base/file.h"

enum err_code input_picture(const char *path, struct arena *a, struct image *ret, struct image_notes *ret_notes,
                            struct err *err)
{
    const struct decode_options options = { .alpha = IMAGE_ALPHA_DROP, .jail = true, .heic = true };
    struct span file;

    TRY(file_read(path, IMAGE_MAX_FILE_BYTES, a, &file, err));
    if (image_decode(a, file, &options, ret, ret_notes, err))
        return err_prefix(err, "%s", path);
    return ERR_OK;
}

enum err_code input_floats(const struct tensor_entry *e, struct arena *a, float **ret, struct err *err)
{
    float *values = NULL;

    TRY(arena_alloc(a, e->bytes, 1, &values, err));
    *ret = memcpy(values, e->data, e->bytes);
    return ERR_OK;
}
