/* How far loading has come, as another thread would see it. */
#include "models/fill/fill.h"
#include "test/support/check.h"
#include "test/support/golden.h"

static struct fill_loading loading;
static int64_t seen;
static int n_looks;

static enum err_code look_and_load(struct backend *be, const struct weight *host, struct weight *ret, struct err *err)
{
    int64_t now = loading.loaded_bytes;

    (void)be, (void)err;
    CHECK(now >= seen && loading.total_bytes > 0 && now <= loading.total_bytes);
    seen = now;
    n_looks++;
    *ret = *host;
    return ERR_OK;
}

TEST(fill_loading__only_grows_and_ends_at_the_total)
{
    const struct fill_options o = { .transformer = "flux1-fill-Q8_0.gguf", .max_width = 32, .max_height = 32,
                                    .max_steps = 1, .max_t5_len = 16, .loading = &loading };
    const struct backend_ops *own;
    struct backend_ops ops;
    struct fill_model *m = NULL;
    struct backend *be = NULL;
    struct err err = { 0 };

    loading = (struct fill_loading){ 0 };
    seen = n_looks = 0;
    CHECK_OK(backend_open(BACKEND_PLAIN, PRECISION_F32, &be, &err), err);
    own = be->ops;
    ops = *own;
    ops.weight_load = look_and_load;
    be->ops = &ops;
    CHECK_OK(fill_model_open(golden("small/models"), &o, be, &m, &err), err);
    CHECK(n_looks > 0 && seen > 0);
    CHECK_INT(loading.loaded_bytes, loading.total_bytes);
    fill_model_close(m);
    be->ops = own;
    backend_close(be);
}

/* What a start reads of the small model, with the modulations' weights loaded or left in their file. */
static int64_t bytes_read(bool modulation_in_file)
{
    const struct fill_options o = { .transformer = "flux1-fill-Q8_0.gguf", .max_width = 32, .max_height = 32, .max_steps = 1,
                                    .max_t5_len = 16, .loading = &loading, .modulation_in_file = modulation_in_file };
    struct fill_model *m = NULL;
    struct backend *be = NULL;
    struct err err = { 0 };

    loading = (struct fill_loading){ 0 };
    CHECK_OK(backend_open(BACKEND_PLAIN, PRECISION_F32, &be, &err), err);
    CHECK_OK(fill_model_open(golden("small/models"), &o, be, &m, &err), err);
    fill_model_close(m);
    backend_close(be);
    CHECK(loading.read_bytes > 0 && loading.read_bytes < loading.total_bytes); /* which has the files' headers */
    return loading.read_bytes;
}

/* What only a request's table of modulations needs. Of two blocks with two streams, 6 D rows for each stream, of two with
 * one stream 3 D, as Q8_0 (34 bytes for 32 values); as BF16, 2 D of the last layer, and the two layers each for time and
 * guidance (256 sinusoids) and the pooled prompt (768). */
enum {
    D = 64,
    BLOCKS_BYTES = (2 * 2 * 6 + 2 * 3) * D * D / 32 * 34,
    OTHERS_BYTES = (2 * D + 2 * (256 + D) + 768 + D) * D * 2
};

TEST(fill_loading__weights_that_stay_in_their_file_are_not_read)
{
    CHECK_INT(bytes_read(false) - bytes_read(true), BLOCKS_BYTES + OTHERS_BYTES);
}
