#include "worker/job/uncovered.h"

bool uncovered_is_new(struct uncovered *u, int width, int height, int steps)
{
    for (int i = 0; i < u->n; i++)
        if (u->kinds[i].width == width && u->kinds[i].height == height && u->kinds[i].steps == steps)
            return false;
    if (u->n == UNCOVERED_MAX)
        return false;
    u->kinds[u->n++] = (struct uncovered_kind){ width, height, steps };
    return true;
}
