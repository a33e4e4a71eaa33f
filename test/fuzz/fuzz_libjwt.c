/* fuzz_libjwt - any bytes as a token for libjwt_verify, without the gate that stands in front of it. */
#include <stdint.h>
#include <stdlib.h>

#include "kernels/base/base64.h"
#include "test/fuzz/token.h"
#include "worker/base/libjwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct libjwt_key *published_key(void)
{
    struct libjwt_key *key;
    char n[512];
    size_t len;

    if (base64_decode(SPAN(TOKEN_KEY_N), BASE64_URL | BASE64_NO_PADDING, n, sizeof n, &len, NULL) ||
        libjwt_key_public((struct span){ n, len }, SPAN("\1\0\1"), &key, NULL))
        abort();
    return key;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct libjwt_key *key;
    struct span token = { (const char *)data, size };

    if (!key)
        key = published_key();
    if (libjwt_verify(key, token, NULL) == ERR_OK && !span_is(token, TOKEN))
        abort();
    return 0;
}
