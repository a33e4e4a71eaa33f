/* fuzz_jwt - any bytes as an Authorization header; configured as on Cloud Run, which verifies and removes signatures,
 * so that tokens without one are accepted.
 */
#include <stdint.h>
#include <stdlib.h>

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

static enum err_code nobody_answers(void *ctx, const struct http_request *req, struct arena *a, struct http_reply *ret,
                                    struct err *err)
{
    (void)ctx, (void)req, (void)a, (void)ret;
    return err_set(err, ERR_INVALID, "no network here");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http http = { NULL, nobody_answers };
    static const struct budget budget = { .sys = &stopped_clock, .deadline_mono_ms = 5000 };
    static struct jwks *jwks;
    struct oidc o = { .mode = PUSH_AUTH_IAM,
                      .on_cloud_run = true,
                      .audiences = { "https://w.example/p" },
                      .emails = { "push@demo.iam.gserviceaccount.com" },
                      .n_audiences = 1,
                      .n_emails = 1,
                      .sys = &stopped_clock };
    struct span header = { (const char *)data, size };

    if (!jwks && jwks_open(&http, &stopped_clock, "https://issuer.example/certs", &jwks, NULL))
        abort();
    o.jwks = jwks;
    (void)oidc_check(&o, &header, 1, &budget);
    return 0;
}
