#include "models/flux/flux_flop.h"

/* Both kinds of block have the same number of weights: qkv, proj and the MLP's two matrices. */
double flux_block_products_flop(const struct flux_config *c, double n)
{
    double d = (double)c->hidden, mlp = (double)c->mlp;

    return 2 * n * (4 * d * d + 2 * d * mlp);
}

double flux_block_attention_flop(const struct flux_config *c, double n)
{
    return 4 * n * n * (double)c->hidden;
}

double flux_step_flop(const struct flux_config *c, double n_txt, double n_img)
{
    double n = n_txt + n_img, n_blocks = c->n_double + c->n_single;

    return n_blocks * (flux_block_products_flop(c, n) + flux_block_attention_flop(c, n)) +
           2 * n_img * (double)(c->hidden * (c->in_channels + c->out_channels));
}
