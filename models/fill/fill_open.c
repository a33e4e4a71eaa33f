/* fill_open - opens a model: first the choice of what fits into memory, then the loading. */
#include "models/fill/fill_memory.h"
#include "models/fill/fill_model.h"

enum { CHOICE_BYTES = 1 << 30 }; /* address space for the directories of all files that are considered */

enum err_code fill_model_open(const char *dir, const struct fill_options *options, struct backend *be,
                              struct fill_model **ret, struct err *err)
{
    struct fill_options o = *options;
    struct arena a = { 0 };
    enum err_code rc;

    TRY(fill_model_check(options, err));
    TRY(arena_init(&a, CHOICE_BYTES, err));
    rc = fill_memory_choose(dir, &o, be, &a, err);
    if (rc == ERR_OK)
        rc = fill_model_load(dir, &o, be, ret, err);
    arena_done(&a);
    return rc;
}
