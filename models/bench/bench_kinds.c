#include "models/bench/bench_kinds.h"

enum { MARK_FROM = BACKEND_MARKS - 2, MARK_TO };

static struct bench_kinds *kinds_of(struct backend *be)
{
    return (struct bench_kinds *)(uintptr_t)be->ops;
}

static enum err_code end(struct backend *be, enum bench_kind kind, struct err *err)
{
    struct bench_kinds *kinds = kinds_of(be);
    double ms = 0;

    TRY(kinds->own->mark(be, MARK_TO, err));
    TRY(kinds->own->elapsed(be, MARK_FROM, MARK_TO, &ms, err));
    kinds->ms[kind] += ms;
    return ERR_OK;
}

/* An operation of the table: its kind, its call's arguments, and its parameters between backend and error. */
#define WATCHED(op, kind, args, ...)                                          \
    static enum err_code op(struct backend *be, __VA_ARGS__, struct err *err) \
    {                                                                         \
        TRY(kinds_of(be)->own->mark(be, MARK_FROM, err));                     \
        TRY(kinds_of(be)->own->op args);                                      \
        return end(be, kind, err);                                            \
    }

WATCHED(linear, BENCH_PRODUCTS, (be, y, x, w, bias, act, err), struct tensor *y, const struct tensor *x,
        const struct weight *w, const struct bias *bias, enum activation act)
WATCHED(attention, BENCH_ATTENTION, (be, out, q, k, v, args, err), struct tensor *out, const struct tensor *q,
        const struct tensor *k, const struct tensor *v, const struct attention_args *args)
WATCHED(layer_norm, BENCH_REST, (be, y, x, w, b, eps, err), struct tensor *y, const struct tensor *x,
        const struct tensor *w, const struct tensor *b, float eps)
WATCHED(modulate, BENCH_REST, (be, y, x, shift, scale, eps, err), struct tensor *y, const struct tensor *x,
        const struct tensor *shift, const struct tensor *scale, float eps)
WATCHED(rms_norm, BENCH_REST, (be, y, x, w, eps, err), struct tensor *y, const struct tensor *x, const struct tensor *w,
        float eps)
WATCHED(qk_norm_rope, BENCH_REST, (be, x, scale, rope, n_heads, eps, err), struct tensor *x, const struct tensor *scale,
        const struct tensor *rope, int n_heads, float eps)
WATCHED(gate_add, BENCH_REST, (be, x, gate, y, err), struct tensor *x, const struct tensor *gate,
        const struct tensor *y)
WATCHED(gate_add_modulate, BENCH_REST, (be, a, x, y, args, err), struct tensor *a, struct tensor *x,
        const struct tensor *y, const struct gate_modulate_args *args)
WATCHED(mul, BENCH_REST, (be, y, a, b, err), struct tensor *y, const struct tensor *a, const struct tensor *b)
WATCHED(copy, BENCH_REST, (be, y, x, err), struct tensor *y, const struct tensor *x)

void bench_kinds_watch(struct bench_kinds *k, struct backend *be)
{
    *k = (struct bench_kinds){ .ops = *be->ops, .own = be->ops };
    k->ops.linear = linear;
    k->ops.attention = attention;
    k->ops.layer_norm = layer_norm;
    k->ops.modulate = modulate;
    k->ops.rms_norm = rms_norm;
    k->ops.qk_norm_rope = qk_norm_rope;
    k->ops.gate_add = gate_add;
    k->ops.gate_add_modulate = gate_add_modulate;
    k->ops.mul = mul;
    k->ops.copy = copy;
    be->ops = &k->ops;
}

void bench_kinds_leave(struct bench_kinds *k, struct backend *be)
{
    be->ops = k->own;
}
