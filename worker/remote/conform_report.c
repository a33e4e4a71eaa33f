#include "worker/remote/conform_report.h"

#include <assert.h>
#include <string.h>

#include "worker/base/json.h"
#include "worker/push/printable.h"

static const char *const verdicts[] = {
    [CONFORM_OK] = "ok", [CONFORM_FAILED] = "FAILED", [CONFORM_SKIPPED] = "skipped"
};
static const char *const words[] = { [CONFORM_OK] = "ok", [CONFORM_FAILED] = "failed", [CONFORM_SKIPPED] = "skipped" };

static void print_row(const struct conform_report *p, const struct conform_check *k, const struct conform_result *r)
{
    (void)fprintf(p->to, "%-8s %-22s %s", verdicts[r->verdict], k->name, k->sent);
    if (r->verdict != CONFORM_SKIPPED)
        (void)fprintf(p->to, ": %s (expected %s), %.2f s", r->got, k->expected, 1e-3 * (double)r->ms);
    if (*r->note)
        (void)fprintf(p->to, ": %s", r->note);
    (void)fprintf(p->to, "\n");
    (void)fflush(p->to);
}

void conform_report_add(struct conform_report *p, const struct conform_check *k, const struct conform_result *r)
{
    struct conform_result *kept = &p->rows[p->n_rows].result;

    assert(p->n_rows < CONFORM_CHECKS_MAX);
    p->rows[p->n_rows++].check = k;
    *kept = *r;
    conform_show(kept->got);
    conform_show(kept->note);
    p->n[r->verdict]++;
    if (p->to)
        print_row(p, k, kept);
}

void conform_report_end(const struct conform_report *p)
{
    if (p->to)
        (void)fprintf(p->to, "%d checks: %d ok, %d failed, %d skipped\n", p->n_rows, p->n[CONFORM_OK],
                      p->n[CONFORM_FAILED], p->n[CONFORM_SKIPPED]);
}

static void add_row(struct json *list, const struct conform_check *k, const struct conform_result *r)
{
    struct json *row = json_add_object(list, NULL);

    json_add_string(row, "name", k->name);
    json_add_string(row, "verdict", words[r->verdict]);
    json_add_string(row, "sent", k->sent);
    json_add_string(row, "expected", k->expected);
    json_add_string(row, "got", r->got);
    json_add_string(row, "note", r->note);
    json_add_number(row, "seconds", 1e-3 * (double)r->ms);
}

enum err_code conform_report_json(const struct conform_report *p, const struct conform *c, struct arena *a,
                                  struct span *ret, struct err *err)
{
    struct json *root = json_new_object(a), *list;
    char *text, *version;

    TRY(printable_text(c->version, a, &version, err));
    json_add_string(root, "url", c->base);
    json_add_string(root, "version", version);
    for (int v = 0; v <= CONFORM_SKIPPED; v++)
        json_add_int(root, words[v], p->n[v]);
    list = json_add_array(root, "checks");
    for (int i = 0; i < p->n_rows; i++)
        add_row(list, p->rows[i].check, &p->rows[i].result);
    TRY(json_print(a, root, &text, err));
    TRY(arena_printf(a, &text, err, "%s\n", text));
    *ret = span_of(text);
    return ERR_OK;
}
