/* fuzz_jwt - any bytes as an Authorization header. Once as on Cloud Run, which verifies and removes signatures, so that
 * tokens without one are accepted; and once with a key set, where only the published token is.
 */
#include <stdint.h>
#include <stdlib.h>

#include "test/fuzz/token.h"
#include "worker/auth/oidc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t wall_us(void *ctx)
{
    (void)ctx;
    return INT64_C(1700000100) * 1000000;
}

static int64_t mono_ms(void *ctx)
{
    (void)ctx;
    return 5000;
}

static const struct sys stopped_clock = { NULL, wall_us, mono_ms, NULL, NULL };

static enum err_code give_keys(void *ctx, const struct http_request *req, struct arena *a, struct http_reply *ret,
                               struct err *err)
{
    static const char set[] =
        "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"kat-1\",\"e\":\"AQAB\",\"n\":\"" TOKEN_KEY_N "\"}]}";

    (void)ctx, (void)req, (void)a, (void)err;
    *ret = (struct http_reply){ .status = 200, .body = SPAN(set) };
    return ERR_OK;
}

static bool is_published(struct span header)
{
    return header.len > 7 && span_is((struct span){ header.ptr + 7, header.len - 7 }, TOKEN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http http = { NULL, give_keys };
    static const struct budget budget = { .sys = &stopped_clock, .deadline_mono_ms = 60000 };
    static struct jwks *jwks;
    struct oidc o = { .audiences = { "https://w.example/p" },
                      .emails = { "push@demo.iam.gserviceaccount.com" },
                      .n_audiences = 1,
                      .n_emails = 1,
                      .sys = &stopped_clock };
    struct span header = { (const char *)data, size };

    if (!jwks && jwks_open(&http, &stopped_clock, "https://issuer.example/certs", &jwks, NULL))
        abort();
    o.jwks = jwks;
    o.mode = PUSH_AUTH_IAM;
    o.on_cloud_run = true;
    (void)oidc_check(&o, &header, 1, &budget);
    o.mode = PUSH_AUTH_OIDC;
    if (oidc_check(&o, &header, 1, &budget).status == 204 && !is_published(header))
        abort();
    return 0;
}
