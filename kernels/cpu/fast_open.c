/*
 * fast_open - opens the fast CPU backend, and has its table of operations.
 */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/fast.h"
#include "kernels/plain/plain.h"

static void fast_close(struct backend *be)
{
    struct fast *f = (struct fast *)be;

    for (int i = 0; i < f->n_threads; i++)
        onednn_close(f->solo[i]);
    cpu_buffer_done(&f->operands);
    cpu_buffer_done(&f->whole);
    for (int i = 0; i < FAST_STRIP_KINDS; i++)
        cpu_buffer_done(&f->arranged[i]);
    cpu_done(&f->cpu);
    free(f);
}

static const char *fast_describe(struct backend *be)
{
    return ((const struct fast *)be)->described;
}

static struct backend_ops fast_ops(void)
{
    struct backend_ops ops = plain_ops;

    ops.close = fast_close;
    ops.describe = fast_describe;
    ops.conv_weight_load = fast_conv_weight_load;
    ops.linear = fast_linear;
    ops.attention = fast_attention;
    ops.layer_norm = fast_layer_norm;
    ops.modulate = fast_modulate;
    ops.rms_norm = fast_rms_norm;
    ops.group_norm = fast_group_norm;
    ops.qk_norm_rope = fast_qk_norm_rope;
    ops.gate_add = fast_gate_add;
    ops.gate_add_modulate = fast_gate_add_modulate;
    ops.mul = fast_mul;
    ops.silu = fast_silu;
    ops.axpy = fast_axpy;
    ops.copy = fast_copy;
    ops.conv2d = fast_conv2d;
    return ops;
}

/* A failure to measure is an error: with the other type, this start would compute other bytes than the last. */
static enum err_code choose(struct fast *f, enum precision precision, struct err *err)
{
    enum onednn_bf16 has = onednn_bf16();
    struct fast_choice choice;
    double gain = 0;

    if (precision == PRECISION_AUTO && has == ONEDNN_BF16_AMX)
        TRY(fast_bf16_gain(f, &gain, err));
    choice = fast_choose(precision, has, gain);
    f->cpu.base.act = choice.act;
    f->products = choice.products;
    f->to_warn = choice.act != choice.products;
    memcpy(f->described, choice.why, sizeof f->described);
    return ERR_OK;
}

enum err_code backend_fast_open(enum precision precision, struct backend **ret, struct err *err)
{
    struct fast *f = calloc(1, sizeof *f);
    int n_threads = cpu_n_threads() < FAST_MAX_THREADS ? cpu_n_threads() : FAST_MAX_THREADS;
    enum err_code rc = ERR_OK;

    if (!f)
        return err_set(err, ERR_NOMEM, "cpu: no memory for the backend");
    f->ops = fast_ops();
    cpu_init(&f->cpu, &f->ops, "cpu", precision);
    for (int i = 0; i < n_threads && !rc; i++) {
        rc = onednn_open(&f->solo[i], err);
        f->n_threads += !rc;
    }
    if (!rc)
        rc = choose(f, precision, err);
    if (rc) {
        fast_close(&f->cpu.base);
        return rc;
    }
    *ret = &f->cpu.base;
    return ERR_OK;
}
