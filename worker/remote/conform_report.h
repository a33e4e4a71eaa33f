/*
 * conform_report - what came of the checks: a line each as they end, and all of it as JSON.
 *
 *   ok       token-none  POST /inpaint without a token: 401 (expected 401 ...), 0.01 s
 *   FAILED   ready       GET /ready until it is ready: 503 (expected 200): not ready after 600 s: loading, 40 %
 *   skipped  job         a message about the session: --user and --session name one
 */
#ifndef WORKER_REMOTE_CONFORM_REPORT_H
#define WORKER_REMOTE_CONFORM_REPORT_H

#include <stdio.h>

#include "worker/remote/conform_check.h"

enum { CONFORM_CHECKS_MAX = 80 };

struct conform_report {
    FILE *to; /* NULL: no lines */
    struct {
        const struct conform_check *check;
        struct conform_result result;
    } rows[CONFORM_CHECKS_MAX];
    int n_rows;
    int n[CONFORM_SKIPPED + 1]; /* by verdict */
};

/* Asserts that there is room. */
void conform_report_add(struct conform_report *p, const struct conform_check *k, const struct conform_result *r);

void conform_report_end(const struct conform_report *p); /* the last line: the counts */

/* {"url": ..., "version": ..., "ok": 20, "failed": 0, "skipped": 3, "checks": [{"name", "verdict", "sent", "expected",
 * "got", "note", "seconds"}]}, with a line break at the end; in the arena. */
MUST_CHECK enum err_code conform_report_json(const struct conform_report *p, const struct conform *c, struct arena *a,
                                             struct span *ret, struct err *err);

#endif
