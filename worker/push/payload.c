#include "worker/push/payload.h"

#include "kernels/base/base64.h"

static bool begins_an_object(struct span text)
{
    size_t at = 0;

    while (at < text.len && strchr(" \t\r\n", text.ptr[at]) && text.ptr[at])
        at++;
    return at < text.len && text.ptr[at] == '{';
}

enum err_code payload_open(struct span bytes, int max_layers, struct arena *a, struct span *ret, struct err *err)
{
    struct span inside = bytes;

    for (int layer = 0; layer < max_layers && !begins_an_object(inside); layer++) {
        size_t size = BASE64_DECODED_MAX(inside.len), n;
        char *room;

        TRY(arena_alloc(a, size + 1, 1, &room, err));
        if (base64_decode(inside, BASE64_STANDARD | BASE64_URL | BASE64_MAY_PAD | BASE64_WHITE_SPACE, room, size, &n,
                          NULL))
            break;
        inside = (struct span){ room, n };
    }
    *ret = begins_an_object(inside) ? inside : bytes;
    return ERR_OK;
}
