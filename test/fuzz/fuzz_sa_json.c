/* fuzz_sa_json - any text as FIREBASE_CREDENTIALS. */
#include <stdint.h>

#include "worker/google/service_account.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct service_account sa;

    if (!service_account_parse((struct span){ (const char *)data, size }, TOKEN_URI_GOOGLE_OR_LOOPBACK, &sa, NULL))
        service_account_done(&sa);
    return 0;
}
