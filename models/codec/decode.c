#include "models/codec/decode.h"

#include "models/codec/jpeg.h"
#include "models/codec/png.h"

/*
 * 1. u32 box size    2. "ftyp"    3. brand    4. u32 version    5. compatible brands, to the end of the box
 * "mif1" and "msf1" mean HEIF with any coding; the other brands name the coding, too.
 */
static bool is_heif(struct span file)
{
    static const char brands[][5] = { "heic", "heix", "heim", "heis", "hevc", "hevx", "hevm",
                                      "hevs", "mif1", "msf1", "avif", "avis", "mif2" };
    enum { AT_BRAND = 8, AT_VERSION = 12, BOX_MAX = 512 };
    size_t end;

    if (file.len < 16 || memcmp(file.ptr + 4, "ftyp", 4) != 0)
        return false;
    end = (size_t)(unsigned char)file.ptr[2] << 8 | (unsigned char)file.ptr[3];
    end = end > BOX_MAX ? BOX_MAX : end;
    end = end > file.len ? file.len : end;
    for (size_t at = AT_BRAND; at == AT_BRAND || at + 4 <= end; at += 4)
        for (size_t i = 0; i < sizeof brands / sizeof *brands && at != AT_VERSION; i++)
            if (memcmp(file.ptr + at, brands[i], 4) == 0)
                return true;
    return false;
}

enum err_code image_decode(struct arena *a, struct span file, const struct decode_options *options, struct image *ret,
                           struct image_notes *ret_notes, struct err *err)
{
    if (file.len > IMAGE_MAX_FILE_BYTES)
        return err_set(err, ERR_TOO_LARGE, "the file has %zu bytes; at most %d are accepted", file.len,
                       IMAGE_MAX_FILE_BYTES);
    if (span_starts(file, "\xff\xd8\xff"))
        return jpeg_read(a, file, ret, ret_notes, err);
    if (span_starts(file, "\x89PNG\r\n\x1a\n"))
        return png_read(a, file, options->alpha, ret, ret_notes, err);
    if (is_heif(file))
        return err_set(err, ERR_HEIC, "the file is an HEIF picture (HEIC, AVIF); only JPEG and PNG are supported");
    return err_set(err, ERR_NOT_AN_IMAGE, "the file, of %zu bytes, is neither JPEG nor PNG", file.len);
}
