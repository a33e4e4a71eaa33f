/*
 * audit_grid - the settings that an audit tries, and the order of its cells: each transformer with each set of LoRAs,
 * guidance, number of steps and seed; the seed changes first, the LoRAs but last and the transformer last, so that each
 * model is loaded once.
 */
#ifndef WORKER_LOCAL_AUDIT_GRID_H
#define WORKER_LOCAL_AUDIT_GRID_H

#include <stdint.h>

#include "kernels/base/arena.h"
#include "models/fill/fill.h"

enum { AUDIT_MAX_VALUES = 64 /* of one list */, AUDIT_MAX_CELLS = 1000, AUDIT_NAME_SIZE = 160 };

/* Lists as they are written: values with commas between them. */
struct audit_lists {
    const char *transformers; /* NULL: one cell with the transformer that the model folder decides on */
    const char *guidance, *steps, *seeds;
    const char *loras; /* "none", "FILE[:SCALE]" or several of these joined by "+"; NULL: one value, the setting's */
    const char *lora_setting; /* of LORAS, "FILE[:SCALE],..."; NULL: none */
};

/* LoRAs that are merged into a transformer together; a set is the same where files, scales and their order are. */
struct audit_loras {
    struct fill_loras set;
    const char *text; /* "FILE:SCALE,..." with every scale, as fill_loras_add() reads it */
    char tag[13];     /* small hexadecimal digits of a digest of `text` */
};

struct audit_grid {
    const char *transformers[AUDIT_MAX_VALUES];        /* file names; NULL where the folder decides */
    const struct audit_loras *loras[AUDIT_MAX_VALUES]; /* NULL: none */
    double guidance[AUDIT_MAX_VALUES];
    int steps[AUDIT_MAX_VALUES];
    uint64_t seeds[AUDIT_MAX_VALUES];
    int n_transformers, n_loras, n_guidance, n_steps, n_seeds;
    int most_steps;
};

struct audit_cell {
    const char *transformer;
    double guidance;
    int steps;
    uint64_t seed;
    const struct audit_loras *loras; /* NULL: none */
};

/* ERR_INVALID: a value that is none, is out of its limits, or stands twice; an empty list. ERR_TOO_LARGE: more than
 * AUDIT_MAX_CELLS cells, AUDIT_MAX_VALUES in a list, or FILL_MAX_LORAS in a set. The message names the option. Texts
 * and sets are from the arena. */
MUST_CHECK enum err_code audit_grid_parse(const struct audit_lists *lists, struct arena *a, struct audit_grid *ret,
                                          struct err *err);

int audit_grid_count(const struct audit_grid *g);
struct audit_cell audit_grid_cell(const struct audit_grid *g, int i); /* 0 <= i < audit_grid_count() */

/* The name of the cell's folder, of letters, digits and "._-" only; different cells have different names.
 * `transformer`: the file that the cell's transformer turned out to be. A cell without LoRAs has a name without them.
 */
void audit_cell_name(const struct audit_cell *c, const char *transformer, char ret[AUDIT_NAME_SIZE]);

#endif
