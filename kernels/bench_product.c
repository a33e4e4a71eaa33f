#include "kernels/bench_product.h"

#include <stdlib.h>
#include <time.h>

#include "kernels/cpu/cpu.h"

double bench_clock(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#ifdef HAVE_ONEDNN

#include "kernels/cpu/onednn.h"

struct bench_product {
    struct dnn *dnn;
    struct dnn_matmul shape;
    struct cpu_buffer a, b, c;
};

/* Values near one: neither zeros nor subnormals, which take other paths. */
static enum err_code fill(struct cpu_buffer *b, enum dtype t, int64_t n, struct err *err)
{
    enum err_code rc = cpu_buffer_fit(b, (size_t)n, dtype_row_bytes(t, 1), err);

    for (int64_t i = 0; i < n && !rc; i++) {
        float value = 1.0f + (float)(i % 251) / 251.0f;

        if (t == DT_F32)
            ((float *)b->p)[i] = value;
        else
            ((uint16_t *)b->p)[i] = f32_to_bf16(value);
    }
    return rc;
}

enum err_code bench_product_open(enum dtype t, int64_t m, int64_t n, int64_t k, struct bench_product **ret,
                                 struct err *err)
{
    struct bench_product *p = calloc(1, sizeof *p);
    enum err_code rc;

    if (!p)
        return err_set(err, ERR_NOMEM, "bench: no memory");
    p->shape = (struct dnn_matmul){
        .m = m, .n = n, .k = k, .lda = k, .ldb = k, .ldc = n, .in_type = t, .out_type = t, .b_transposed = true
    };
    rc = dnn_open(&p->dnn, err);
    if (!rc)
        rc = fill(&p->a, t, m * k, err);
    if (!rc)
        rc = fill(&p->b, t, n * k, err);
    if (!rc)
        rc = fill(&p->c, t, m * n, err);
    if (rc)
        bench_product_close(p);
    else
        *ret = p;
    return rc;
}

enum err_code bench_product_run(struct bench_product *p, double *ret_seconds, struct err *err)
{
    double start = bench_clock(), seconds;
    enum err_code rc = dnn_matmul(p->dnn, &p->shape, p->a.p, p->b.p, NULL, p->c.p, err);

    seconds = bench_clock() - start;
    if (!rc && seconds < *ret_seconds)
        *ret_seconds = seconds;
    return rc;
}

void bench_product_close(struct bench_product *p)
{
    if (!p)
        return;
    cpu_buffer_done(&p->a);
    cpu_buffer_done(&p->b);
    cpu_buffer_done(&p->c);
    dnn_close(p->dnn);
    free(p);
}

#else

enum err_code bench_product_open(enum dtype t, int64_t m, int64_t n, int64_t k, struct bench_product **ret,
                                 struct err *err)
{
    (void)t, (void)m, (void)n, (void)k, (void)ret;
    return err_set(err, ERR_UNAVAILABLE, "bench: this program was built without oneDNN");
}

enum err_code bench_product_run(struct bench_product *p, double *ret_seconds, struct err *err)
{
    (void)p, (void)ret_seconds;
    return err_set(err, ERR_UNAVAILABLE, "bench: this program was built without oneDNN");
}

void bench_product_close(struct bench_product *p)
{
    (void)p;
}

#endif
