#include "kernels/bench_product.h"

#include <stdlib.h>

#include "kernels/plain/cpu.h"

double bench_clock(void)
{
    return cpu_clock();
}

#ifdef HAVE_ONEDNN

#include "kernels/cpu/fast.h"

struct bench_product {
    struct onednn *onednn;
    struct onednn_matmul shape;
    struct cpu_buffer a, b, c;
};

static enum err_code open_operands(struct bench_product *p, struct err *err)
{
    const struct onednn_matmul *s = &p->shape;
    enum dtype t = (enum dtype)s->in_type;

    TRY(onednn_open(&p->onednn, err));
    TRY(fast_sample(&p->a, t, s->m * s->k, err));
    TRY(fast_sample(&p->b, t, s->n * s->k, err));
    return fast_sample(&p->c, t, s->m * s->n, err);
}

enum err_code bench_product_open(const struct backend *cpu, int64_t m, int64_t n, int64_t k, struct bench_product **ret,
                                 struct err *err)
{
    const enum dtype t = ((const struct fast *)cpu)->products;
    struct bench_product *p = calloc(1, sizeof *p);
    enum err_code rc;

    if (!p)
        return err_set(err, ERR_NOMEM, "bench: no memory for a matrix product");
    p->shape = (struct onednn_matmul){
        .m = m, .n = n, .k = k, .lda = k, .ldb = k, .ldc = n, .in_type = t, .out_type = t, .b_transposed = true
    };
    rc = open_operands(p, err);
    if (rc)
        bench_product_close(p);
    else
        *ret = p;
    return rc;
}

enum err_code bench_product_run(struct bench_product *p, double *ret_seconds, struct err *err)
{
    double start = bench_clock();

    TRY(onednn_matmul(p->onednn, &p->shape, p->a.p, p->b.p, NULL, p->c.p, err));
    *ret_seconds = bench_clock() - start;
    return ERR_OK;
}

void bench_product_close(struct bench_product *p)
{
    if (!p)
        return;
    cpu_buffer_done(&p->a);
    cpu_buffer_done(&p->b);
    cpu_buffer_done(&p->c);
    onednn_close(p->onednn);
    free(p);
}

#else

enum err_code bench_product_open(const struct backend *cpu, int64_t m, int64_t n, int64_t k, struct bench_product **ret,
                                 struct err *err)
{
    (void)cpu, (void)m, (void)n, (void)k, (void)ret;
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
