/*
 * weight_depth - how many layers a file has: one more than the greatest index n in a name `<stem>n.` (after the set's
 * prefix), so that a hole is found by the name that is missing. 0 when there is none; indices of `max` and above are
 * not counted.
 */
#ifndef MODELS_WEIGHT_DEPTH_H
#define MODELS_WEIGHT_DEPTH_H

#include "models/weights.h"

int weight_depth(const struct weight_set *set, const char *stem, int max);

#endif
