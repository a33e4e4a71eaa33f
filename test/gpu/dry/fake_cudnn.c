#include "test/gpu/dry/fake_cudnn.h"
#include "test/gpu/dry/fake_cuda.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cudnn/cudnn_graph.h"
#include "kernels/quant.h"

enum { ATTRIBUTES_MAX = 12, VALUE_MAX = 64, N_ENGINES = 2, FAKE_WORKSPACE = 256, ERROR = 3000 };

struct fake_cudnn fake_cudnn;

struct part {
    int type, n;
    bool finished;
    int64_t engine;     /* in an engine's configuration: the number of the engine */
    struct part *about; /* in a configuration: its graph; in an engine: its configuration */
    struct attribute {
        int name;
        int64_t count;
        char value[VALUE_MAX];
    } attributes[ATTRIBUTES_MAX];
};

static size_t value_bytes(int type)
{
    switch (type) {
    case CUDNN_TYPE_BOOLEAN:
        return sizeof(bool);
    case CUDNN_TYPE_DATA_TYPE:
    case CUDNN_TYPE_HEUR_MODE:
        return sizeof(int);
    default:
        return 8;
    }
}

static const struct attribute *find(const struct part *p, int name)
{
    assert(p && p->finished);
    for (int i = 0; i < p->n; i++)
        if (p->attributes[i].name == name)
            return &p->attributes[i];
    assert(!"an attribute is missing");
    return NULL;
}

static struct part *part_of(const struct part *p, int name)
{
    return *(struct part *const *)(const void *)find(p, name)->value;
}

static int fake_create_part(int type, void **ret)
{
    struct part *p = calloc(1, sizeof *p);

    assert(p);
    p->type = type;
    fake_cudnn.n_parts++;
    *ret = p;
    return 0;
}

static int fake_destroy_part(void *p)
{
    fake_cudnn.n_parts--;
    free(p);
    return 0;
}

static int fake_finalize(void *part)
{
    struct part *p = part;

    assert(!p->finished);
    p->finished = true;
    return 0;
}

static int fake_set(void *part, int name, int type, int64_t count, const void *values)
{
    struct part *p = part;
    struct attribute *a = &p->attributes[p->n++];

    assert(!p->finished && p->n <= ATTRIBUTES_MAX && value_bytes(type) * (size_t)count <= VALUE_MAX);
    a->name = name;
    a->count = count;
    memcpy(a->value, values, value_bytes(type) * (size_t)count);
    return 0;
}

static int fake_get(void *part, int name, int type, int64_t asked, int64_t *count, void *values)
{
    struct part *p = part, **parts = values;

    (void)type;
    assert(p->finished || p->about);
    switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
        assert(asked >= N_ENGINES);
        fake_cudnn.n_heuristics++;
        *count = fake_cudnn.mood == CUDNN_HAS_NO_PLAN ? 0 : N_ENGINES;
        for (int i = 0; i < N_ENGINES; i++) {
            parts[i]->engine = i;
            parts[i]->about = part_of(p, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
            parts[i]->finished = true;
        }
        return 0;
    case CUDNN_ATTR_ENGINECFG_ENGINE:
        parts[0]->about = p;
        *count = 1;
        return 0;
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
        *count = p->about->engine == 0;
        *(int *)values = CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
        return 0;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
        *count = 1;
        *(int64_t *)values = fake_cudnn.mood == CUDNN_WANTS_TOO_MUCH ? (int64_t)1 << 40 : FAKE_WORKSPACE;
        return 0;
    default:
        return ERROR;
    }
}

/* --- attention --- */

struct heads {
    const int64_t *dims, *strides; /* [1, heads, tokens, head_dim] */
    uint16_t *data;
};

static void *data_of(const struct part *pack, const struct part *tensor)
{
    int64_t uid = *(const int64_t *)(const void *)find(tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID)->value;
    const struct attribute *uids = find(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    const struct attribute *data = find(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);

    assert(uids->count == data->count);
    for (int64_t i = 0; i < uids->count; i++)
        if (((const int64_t *)(const void *)uids->value)[i] == uid)
            return ((void *const *)(const void *)data->value)[i];
    assert(!"a tensor has no data");
    return NULL;
}

static struct heads heads_of(const struct part *pack, const struct part *op, int name)
{
    const struct part *t = part_of(op, name);
    const struct attribute *dims = find(t, CUDNN_ATTR_TENSOR_DIMENSIONS), *strides = find(t, CUDNN_ATTR_TENSOR_STRIDES);
    struct heads h = { (const int64_t *)(const void *)dims->value, (const int64_t *)(const void *)strides->value,
                       data_of(pack, t) };

    assert(*(const int *)(const void *)find(t, CUDNN_ATTR_TENSOR_DATA_TYPE)->value == CUDNN_DATA_BFLOAT16);
    assert(!*(const bool *)find(t, CUDNN_ATTR_TENSOR_IS_BY_VALUE)->value);
    assert(dims->count == 4 && strides->count == 4 && h.dims[0] == 1 && h.strides[3] == 1);
    return h;
}

static uint16_t *row(const struct heads *h, int64_t head, int64_t token)
{
    return h->data + head * h->strides[1] + token * h->strides[2];
}

/* One head in f32: k [head_dim, n], v [n, head_dim]; scratch p [n] and sums [head_dim]. */
struct head {
    int64_t n, dim;
    float scale, *k, *v, *p, *sums;
};

static void run_row(const struct head *h, const uint16_t *q, uint16_t *out)
{
    int64_t n = h->n, dim = h->dim;
    float most = -INFINITY, sum = 0;

    memset(h->p, 0, (size_t)n * sizeof *h->p);
    memset(h->sums, 0, (size_t)dim * sizeof *h->sums);
    for (int64_t d = 0; d < dim; d++)
        for (int64_t j = 0; j < n; j++)
            h->p[j] += bf16_to_f32(q[d]) * h->k[d * n + j];
    for (int64_t j = 0; j < n; j++)
        most = fmaxf(most, h->scale * h->p[j]);
    for (int64_t j = 0; j < n; j++) {
        float e = expf(h->scale * h->p[j] - most), weight = bf16_to_f32(f32_to_bf16(e));

        sum += e;
        for (int64_t d = 0; d < dim; d++)
            h->sums[d] += weight * h->v[j * dim + d];
    }
    for (int64_t d = 0; d < dim; d++)
        out[d] = f32_to_bf16(h->sums[d] / sum);
}

static void run_head(const struct heads t[4], float scale, int64_t head)
{
    int64_t n = t[1].dims[2], dim = t[1].dims[3];
    float *k = malloc((size_t)(2 * n * dim + n + dim) * sizeof *k), *v = k + n * dim, *p = v + n * dim;
    struct head h = { n, dim, scale, k, v, p, p + n };

    assert(k);
    for (int64_t j = 0; j < n; j++)
        for (int64_t d = 0; d < dim; d++) {
            k[d * n + j] = bf16_to_f32(row(&t[1], head, j)[d]);
            v[j * dim + d] = bf16_to_f32(row(&t[2], head, j)[d]);
        }
    for (int64_t i = 0; i < t[0].dims[2]; i++)
        run_row(&h, row(&t[0], head, i), row(&t[3], head, i));
    free(k);
}

static int fake_execute(void *handle, void *plan, void *variant_pack)
{
    const struct part *pack = variant_pack, *config = part_of(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    const struct part *op = part_of(config->about, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    const struct heads t[4] = { heads_of(pack, op, CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC),
                                heads_of(pack, op, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC),
                                heads_of(pack, op, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC),
                                heads_of(pack, op, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC) };
    const struct part *scale = part_of(op, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC);

    assert(handle && config->engine == 1 && config->about->finished && op->finished);
    assert(op->type == CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
    assert(*(const bool *)find(scale, CUDNN_ATTR_TENSOR_IS_BY_VALUE)->value);
    assert((uintptr_t)*(void *const *)(const void *)find(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE)->value % 256 == 0);
    if (fake_cudnn.mood == CUDNN_BREAKS)
        fake_cuda_fault(true);
    if (fake_cudnn.mood == CUDNN_BREAKS || fake_cudnn.mood == CUDNN_FAILS)
        return ERROR;
    fake_cudnn.n_runs++;
#pragma omp parallel for schedule(dynamic)
    for (int64_t head = 0; head < t[0].dims[1]; head++)
        run_head(t, *(const float *)data_of(pack, scale), head);
    return 0;
}

/* --- the library --- */

static size_t fake_version(void)
{
    return 91900;
}

static const char *fake_error(int status)
{
    return status ? "an error" : "no error";
}

static void fake_last_error(char *text, size_t bytes)
{
    (void)snprintf(text, bytes,
                   "an engine\nWarning: STATUS; Reason: the engine is not supported\nWarning: STATUS; Reason: so\n");
}

enum err_code cudnn_open(int cuda_major, struct cudnn *ret, struct err *err)
{
    (void)cuda_major;
    if (fake_cudnn.mood == CUDNN_IS_MISSING)
        return err_set(err, ERR_UNAVAILABLE, "libcudnn.so.9: there is none");
    *ret = (struct cudnn){ .cudnnGetVersion = fake_version,
                           .cudnnGetErrorString = fake_error,
                           .cudnnGetLastErrorString = fake_last_error,
                           .cudnnBackendCreateDescriptor = fake_create_part,
                           .cudnnBackendDestroyDescriptor = fake_destroy_part,
                           .cudnnBackendFinalize = fake_finalize,
                           .cudnnBackendSetAttribute = fake_set,
                           .cudnnBackendGetAttribute = fake_get,
                           .cudnnBackendExecute = fake_execute };
    return ERR_OK;
}

enum err_code cudnn_use_device(struct cudnn *lib, void *stream, struct err *err)
{
    (void)err;
    assert(stream);
    lib->handle = lib;
    return ERR_OK;
}

void cudnn_close(struct cudnn *lib)
{
    *lib = (struct cudnn){ 0 };
}
