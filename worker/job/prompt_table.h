/*
 * prompt_table - the sentences that the worker paints with when the app sends no prompt of its own: one for each kind
 * of surface, with the labels that mean it, and a neutral one for all other photos.
 *
 * FLUX.1-Fill has no negative prompt: a word for what shall go away makes it appear. So each sentence says what is to
 * be seen, and none names an object or an absence.
 *
 * A label is compared without regard to case, blanks, hyphens and underscores ("Wood flooring", "wood-flooring",
 * "WoodFlooring"), in the singular or the plural, and, if that is unknown, without words that only qualify it ("dry
 * grass", "sand texture"). There is one sentence a label and never a list of labels in a sentence: so all prompts are
 * known beforehand, and a prompt pack can hold them.
 */
#ifndef WORKER_JOB_PROMPT_TABLE_H
#define WORKER_JOB_PROMPT_TABLE_H

#include "kernels/base/span.h"

enum { PROMPT_LABEL_MAX = 64 /* bytes; a longer label is unknown */ };

/* Which of several labels of one photo decides: the removed thing stood or lay on something more often than before it.
 */
enum prompt_rank {
    PROMPT_RANK_GROUND, /* what things stand or lie on */
    PROMPT_RANK_VAGUE,  /* a floor, but not which */
    PROMPT_RANK_BEHIND, /* what may be behind them */
};

struct prompt_surface {
    const char *labels; /* in the singular, separated by ", "; "" for the neutral sentence */
    const char *prompt;
    enum prompt_rank rank;
};

/* Surface 0 is the neutral one; NULL behind the last. */
const struct prompt_surface *prompt_table_at(int i);

/* What the label means; NULL: it is unknown. The label may hold any bytes. */
const struct prompt_surface *prompt_table_find(struct span label);

#endif
