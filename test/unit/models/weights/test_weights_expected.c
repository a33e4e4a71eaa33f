/* What a model announces to its backend before it loads: a GPU uses it to decide how to store the weights. */
#include "models/fill/fill.h"
#include "models/file/tensor_file.h"
#include "test/support/check.h"
#include "test/support/golden.h"

static size_t expected_bytes;
static int n_loaded;

static void expect(struct backend *be, enum weight_mode mode, size_t bytes)
{
    (void)be;
    CHECK_INT(mode, WEIGHTS_STREAM);
    CHECK_INT(n_loaded, 0);
    expected_bytes = bytes;
}

static enum err_code count_load(struct backend *be, const struct weight *host, struct weight *ret, struct err *err)
{
    (void)be, (void)err;
    n_loaded++;
    *ret = *host;
    return ERR_OK;
}

/* The plain backend, with two of its operations replaced by those above. */
TEST(fill_model__announces_the_bytes_of_its_weights_before_it_loads)
{
    const char *dir = golden("small/models"), *files[] = { "flux1-fill-Q8_0.gguf", "ae.safetensors",
                                                           "text_encoder/model.safetensors",
                                                           "text_encoder_2/model.safetensors" };
    const struct fill_options options = { .transformer = files[0], .max_width = 64, .max_height = 64, .max_steps = 1,
                                          .max_t5_len = 16, .weights = WEIGHTS_STREAM };
    struct fill_model *m = NULL;
    struct backend_ops ops;
    const struct backend_ops *own;
    struct backend *be = NULL;
    struct arena a = { 0 };
    struct err err = { 0 };
    size_t want = 0;

    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct tensor_file f;

        CHECK_OK(tensor_file_open(golden("small/models/%s", files[i]), &a, &f, &err), err);
        want += tensor_file_expanded_bytes(&f);
    }
    CHECK_OK(backend_open(BACKEND_PLAIN, PRECISION_F32, &be, &err), err);
    own = be->ops;
    ops = *own;
    ops.weights_expect = expect;
    ops.weight_load = count_load;
    be->ops = &ops;
    expected_bytes = 0;
    n_loaded = 0;
    CHECK_OK(fill_model_open(dir, &options, be, &m, &err), err);
    CHECK(n_loaded > 0 && want > 0);
    CHECK_INT(expected_bytes, want);
    fill_model_close(m);
    be->ops = own;
    backend_close(be);
    arena_done(&a);
}
