/*
 * conform - all checks of a worker, one after the other, in an order in which a later one knows what an earlier one has
 * found: what does not answer, is not ready or does not accept the token is not asked everything.
 */
#ifndef WORKER_REMOTE_CONFORM_H
#define WORKER_REMOTE_CONFORM_H

#include "worker/remote/conform_report.h"

void conform_run(struct conform *c, struct conform_report *report);

#endif
