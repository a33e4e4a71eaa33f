#include "models/layout/lora.h"
enum err_code lora_open(const char *path, double scale, struct arena *a, const struct lora **ret, struct err *err)
{
    (void)scale, (void)a, (void)ret;
    return err_set(err, ERR_UNSUPPORTED, "%s", path);
}
enum err_code lora_check(const struct lora *l, lora_shape_fn *shape, const void *ctx, struct err *err)
{
    (void)l, (void)shape, (void)ctx, (void)err;
    return ERR_OK;
}
struct weight_patch lora_patch(const struct lora *l)
{
    (void)l;
    return (struct weight_patch){ 0 };
}
const char *lora_digest(const struct lora *l)
{
    (void)l;
    return "";
}
