#include "worker/push/payload.h"

#include "kernels/base/base64.h"

static bool begins_an_object(struct span text)
{
    return span_starts(span_trimmed(text), "{");
}

enum err_code payload_decode(struct span text, unsigned flags, struct arena *a, struct span *ret, struct err *err)
{
    size_t size = BASE64_DECODED_MAX(text.len), n;
    char *bytes;

    TRY(arena_alloc(a, size + 1, 1, &bytes, err));
    if (base64_decode(text, flags, bytes, size, &n, NULL))
        return ERR_INVALID;
    *ret = (struct span){ bytes, n };
    return ERR_OK;
}

enum err_code payload_open(struct span bytes, int max_layers, struct arena *a, struct span *ret, struct err *err)
{
    struct span inside = bytes;

    for (int layer = 0; layer < max_layers && !begins_an_object(inside); layer++) {
        enum err_code rc =
            payload_decode(inside, BASE64_STANDARD | BASE64_URL | BASE64_MAY_PAD | BASE64_WHITE_SPACE, a, &inside, err);

        if (rc == ERR_NOMEM)
            return rc;
        if (rc)
            break;
    }
    *ret = begins_an_object(inside) ? inside : bytes;
    return ERR_OK;
}
