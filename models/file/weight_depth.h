/*
 * weight_depth - how many layers a file has: one more than the greatest index n in a name `<stem>n.` (after the set's
 * prefix), so that a hole is found by the name that is missing. 0 when there is none; max + 1 when an index is `max` or
 * above, which the caller refuses.
 */
#ifndef MODELS_FILE_WEIGHT_DEPTH_H
#define MODELS_FILE_WEIGHT_DEPTH_H

#include "models/file/weights.h"

int weight_depth(const struct weight_set *set, const char *stem, int max);

#endif
