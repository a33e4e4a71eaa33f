#include "models/picture/picture_write.h"

#include <stdio.h>

#include "models/notes/metadata.h"

static enum err_code choose_metadata(struct arena *a, const struct picture_to_write *p, struct jpeg_options *ret,
                                     struct err *err)
{
    struct exif_facts facts;
    const struct metadata_exif m = { &facts, p->photo->width, p->photo->height, p->icc.len > 0 };

    exif_read_facts(p->exif, &facts);
    ret->icc = p->icc;
    ret->xmp = metadata_xmp();
    return metadata_exif(a, &m, &ret->exif, err);
}

/* *ret->why_not is not 0 when the photo has to be written anew. */
static enum err_code try_splice(struct arena *a, const struct picture_to_write *p, const struct jpeg_options *options,
                                struct span *ret_file, struct picture_written *ret, struct err *err)
{
    struct err why = { 0 };
    enum err_code rc = jpeg_splice(a, p->original, p->photo, options, ret_file, &ret->splice, &why);

    if (rc == ERR_UNSUPPORTED) {
        (void)snprintf(ret->why_not, sizeof ret->why_not, "%s", why.msg);
        return ERR_OK;
    }
    if (!rc)
        ret->mode = PICTURE_SPLICE;
    return rc ? err_set(err, rc, "%s", why.msg) : ERR_OK;
}

enum err_code picture_write_edited(struct arena *a, const struct picture_to_write *p,
                                   const struct picture_settings *settings, struct span *ret_file,
                                   struct picture_written *ret, struct err *err)
{
    struct jpeg_options options = { .quality = EDITED_QUALITY,
                                    .chroma = JPEG_CHROMA_FULL,
                                    .fast = settings->fast_huffman };
    struct picture_written done = { .mode = PICTURE_Q95 };

    TRY(choose_metadata(a, p, &options, err));
    if (settings->output == PICTURE_SPLICE)
        TRY(try_splice(a, p, &options, ret_file, &done, err));
    if (done.mode == PICTURE_Q95)
        TRY(jpeg_write(a, p->photo, &options, ret_file, err));
    *ret = done;
    return ERR_OK;
}

enum err_code picture_write_preview(struct arena *a, const struct image *small, struct span icc, struct span *ret_file,
                                    struct err *err)
{
    const struct jpeg_options options = {
        .quality = PREVIEW_QUALITY, .chroma = JPEG_CHROMA_HALF, .icc = icc, .xmp = metadata_xmp()
    };

    return jpeg_write(a, small, &options, ret_file, err);
}
