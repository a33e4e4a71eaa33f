/*
 * weight_depth - the number of layers in a file: one more than the greatest index n in a name `<stem>n.` (after the
 * set's prefix). A layer missing in between is thus looked for, and reported, by name. 0: no such name; max + 1: an
 * index is `max` or more, which the caller refuses.
 */
#ifndef MODELS_WEIGHTS_WEIGHT_DEPTH_H
#define MODELS_WEIGHTS_WEIGHT_DEPTH_H

#include "models/weights/weight_set.h"

int weight_depth(const struct weight_set *set, const char *stem, int max);

#endif
