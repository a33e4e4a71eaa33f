#include "kernels/cuda/cudnn/dnn_graph.h"

#include <stdio.h>
#include <string.h>

enum { ENGINES_MAX = 12, NOTES_MAX = 16, REASON_MAX = 4096 };

static void note_status(struct dnn_graph *g, int status, const char *what)
{
    if (status && !g->status) {
        g->status = status;
        g->failed = what;
    }
}

void *dnn_part(struct dnn_graph *g, int type, const char *what)
{
    void *part = NULL;

    if (g->n_parts == DNN_PARTS_MAX)
        note_status(g, -1, "more parts than a graph may have");
    if (g->status)
        return NULL;
    note_status(g, g->dnn->cudnnBackendCreateDescriptor(type, &part), what);
    if (part)
        g->parts[g->n_parts++] = part;
    return part;
}

void dnn_set(struct dnn_graph *g, void *part, int attribute, int type, int64_t count, const void *values)
{
    if (!g->status)
        note_status(g, g->dnn->cudnnBackendSetAttribute(part, attribute, type, count, values), "an attribute");
}

void dnn_set_int(struct dnn_graph *g, void *part, int attribute, int type, int value)
{
    dnn_set(g, part, attribute, type, 1, &value);
}

void dnn_set_part(struct dnn_graph *g, void *part, int attribute, void *value)
{
    dnn_set(g, part, attribute, DNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

void dnn_finish(struct dnn_graph *g, void *part)
{
    if (!g->status)
        note_status(g, g->dnn->cudnnBackendFinalize(part), "a part of the graph");
}

void dnn_finish_op(struct dnn_graph *g, void *op)
{
    dnn_finish(g, op);
    g->op = op;
}

void *dnn_describe(struct dnn_graph *g, const struct dnn_tensor *t)
{
    void *part = dnn_part(g, DNN_BACKEND_TENSOR_DESCRIPTOR, "a tensor");
    const int64_t alignment = 16;

    dnn_set_int(g, part, DNN_ATTR_TENSOR_DATA_TYPE, DNN_TYPE_DATA_TYPE,
                t->dtype == DT_F32 ? DNN_DATA_FLOAT : DNN_DATA_BFLOAT16);
    dnn_set(g, part, DNN_ATTR_TENSOR_DIMENSIONS, DNN_TYPE_INT64, t->n_dims, t->dims);
    dnn_set(g, part, DNN_ATTR_TENSOR_STRIDES, DNN_TYPE_INT64, t->n_dims, t->strides);
    dnn_set(g, part, DNN_ATTR_TENSOR_UNIQUE_ID, DNN_TYPE_INT64, 1, &t->uid);
    dnn_set(g, part, DNN_ATTR_TENSOR_BYTE_ALIGNMENT, DNN_TYPE_INT64, 1, &alignment);
    dnn_set(g, part, DNN_ATTR_TENSOR_IS_BY_VALUE, DNN_TYPE_BOOLEAN, 1, &t->by_value);
    dnn_finish(g, part);
    return part;
}

/* --- plans --- */

/* The card, in the two ways of saying it. */
static void set_card(struct dnn_graph *g, void *part, int handle_attribute, int properties_attribute)
{
    if (g->dnn->handle && handle_attribute)
        dnn_set(g, part, handle_attribute, DNN_TYPE_HANDLE, 1, &g->dnn->handle);
    if (!g->dnn->handle && properties_attribute)
        dnn_set_part(g, part, properties_attribute, g->dnn->properties);
}

static void *finish_graph(struct dnn_graph *g)
{
    void *graph = dnn_part(g, DNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, "the graph");

    dnn_set_part(g, graph, DNN_ATTR_OPERATIONGRAPH_OPS, g->op);
    set_card(g, graph, DNN_ATTR_OPERATIONGRAPH_HANDLE, 0);
    dnn_finish(g, graph);
    return graph;
}

/* Ways to compute it, the best first. */
static int64_t ask_heuristics(struct dnn_graph *g, void *graph, void **engines)
{
    void *heuristics = dnn_part(g, DNN_BACKEND_ENGINEHEUR_DESCRIPTOR, "heuristics");
    int64_t n = 0;

    dnn_set_part(g, heuristics, DNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    dnn_set_int(g, heuristics, DNN_ATTR_ENGINEHEUR_MODE, DNN_TYPE_HEUR_MODE, DNN_HEUR_MODE_A);
    set_card(g, heuristics, 0, DNN_ATTR_ENGINEHEUR_DEVICEPROP);
    dnn_finish(g, heuristics);
    for (int i = 0; i < ENGINES_MAX; i++)
        engines[i] = dnn_part(g, DNN_BACKEND_ENGINECFG_DESCRIPTOR, "a way to compute it");
    if (!g->status)
        note_status(g,
                    g->dnn->cudnnBackendGetAttribute(heuristics, DNN_ATTR_ENGINEHEUR_RESULTS,
                                                     DNN_TYPE_BACKEND_DESCRIPTOR, ENGINES_MAX, &n, engines),
                    "heuristics");
    return g->status ? 0 : n;
}

/* One rounding a value, and the same bytes each time. */
static bool is_exact(const struct cudnn *dnn, void *config, void *engine)
{
    static const bool refused[NOTES_MAX] = {
        [DNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS] = true,
        [DNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION] = true,
        [DNN_NUMERICAL_NOTE_FFT] = true,
        [DNN_NUMERICAL_NOTE_NONDETERMINISTIC] = true,
        [DNN_NUMERICAL_NOTE_WINOGRAD] = true,
        [DNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4] = true,
        [DNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6] = true,
        [DNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13] = true,
    };
    int notes[NOTES_MAX];
    int64_t n = 0;

    if (dnn->cudnnBackendGetAttribute(config, DNN_ATTR_ENGINECFG_ENGINE, DNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine))
        return false;
    if (dnn->cudnnBackendGetAttribute(engine, DNN_ATTR_ENGINE_NUMERICAL_NOTE, DNN_TYPE_NUMERICAL_NOTE, NOTES_MAX, &n,
                                      notes))
        return false;
    for (int64_t i = 0; i < n && i < NOTES_MAX; i++)
        if (notes[i] < 0 || notes[i] >= NOTES_MAX || refused[notes[i]])
            return false;
    return n <= NOTES_MAX;
}

/* A plan of one engine, or NULL: then the next is tried. */
static void *try_engine(struct dnn_graph *g, void *config, int64_t workspace_bytes, int64_t *ret_bytes)
{
    struct dnn_graph attempt = { .dnn = g->dnn }; /* what fails here is no failure of the graph */
    void *engine = dnn_part(&attempt, DNN_BACKEND_ENGINE_DESCRIPTOR, "an engine"), *plan;
    bool good = !attempt.status && is_exact(g->dnn, config, engine);
    int64_t n = 0;

    plan = dnn_part(&attempt, DNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, "a plan");
    if (good) {
        dnn_set_part(&attempt, plan, DNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
        set_card(&attempt, plan, DNN_ATTR_EXECUTION_PLAN_HANDLE, DNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
        dnn_finish(&attempt, plan);
        good = !attempt.status && !g->dnn->cudnnBackendGetAttribute(plan, DNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                                                    DNN_TYPE_INT64, 1, &n, ret_bytes);
    }
    if (engine)
        (void)g->dnn->cudnnBackendDestroyDescriptor(engine);
    if (good && *ret_bytes >= 0 && *ret_bytes <= workspace_bytes)
        return plan;
    if (plan)
        (void)g->dnn->cudnnBackendDestroyDescriptor(plan);
    return NULL;
}

static void destroy_parts(const struct cudnn *dnn, void **parts, int n)
{
    while (n > 0)
        (void)dnn->cudnnBackendDestroyDescriptor(parts[--n]);
}

/* The first reason in the library's own words, which run to many lines; empty where it says nothing. */
static void find_reason(const struct cudnn *dnn, char *reason, size_t bytes)
{
    static const char mark[] = "Reason: ";
    char text[REASON_MAX] = "";
    const char *at;

    dnn->cudnnGetLastErrorString(text, sizeof text);
    text[sizeof text - 1] = 0;
    at = strstr(text, mark);
    (void)snprintf(reason, bytes, "%s", at ? at + sizeof mark - 1 : "");
    reason[strcspn(reason, "\n")] = 0;
}

static enum err_code no_plan(const struct dnn_graph *g, int64_t n_engines, struct err *err)
{
    char reason[ERR_MESSAGE_MAX];

    find_reason(g->dnn, reason, sizeof reason);
    if (g->status)
        return err_set(err, ERR_UNSUPPORTED, "cudnn: %s: %s: %s", g->failed, g->dnn->cudnnGetErrorString(g->status),
                       reason);
    return err_set(err, ERR_UNSUPPORTED, "cudnn: none of %lld engines may be used: %s", (long long)n_engines, reason);
}

enum err_code dnn_plan_make(struct dnn_graph *g, size_t workspace_bytes, struct dnn_plan *ret, struct err *err)
{
    struct dnn_plan p = { 0 };
    void *engines[ENGINES_MAX] = { 0 }, *graph = finish_graph(g);
    int64_t n = ask_heuristics(g, graph, engines);

    for (int64_t i = 0; i < n && i < ENGINES_MAX && !p.plan; i++)
        p.plan = try_engine(g, engines[i], (int64_t)workspace_bytes, &p.workspace_bytes);
    if (!p.plan) {
        enum err_code rc = no_plan(g, n, err);

        destroy_parts(g->dnn, g->parts, g->n_parts);
        return rc;
    }
    p.n_parts = g->n_parts;
    memcpy(p.parts, g->parts, sizeof p.parts);
    *ret = p;
    return ERR_OK;
}

void dnn_plan_done(const struct cudnn *dnn, struct dnn_plan *p)
{
    if (p->plan)
        (void)dnn->cudnnBackendDestroyDescriptor(p->plan);
    destroy_parts(dnn, p->parts, p->n_parts);
    *p = (struct dnn_plan){ 0 };
}

enum err_code dnn_plan_run(const struct cudnn *dnn, const struct dnn_plan *p, int n, const int64_t *uids,
                           void *const *data, void *workspace, struct err *err)
{
    struct dnn_graph pack = { .dnn = dnn };
    void *part = dnn_part(&pack, DNN_BACKEND_VARIANT_PACK_DESCRIPTOR, "its data");
    char reason[ERR_MESSAGE_MAX];
    int status;

    dnn_set(&pack, part, DNN_ATTR_VARIANT_PACK_UNIQUE_IDS, DNN_TYPE_INT64, n, uids);
    dnn_set(&pack, part, DNN_ATTR_VARIANT_PACK_DATA_POINTERS, DNN_TYPE_VOID_PTR, n, data);
    dnn_set(&pack, part, DNN_ATTR_VARIANT_PACK_WORKSPACE, DNN_TYPE_VOID_PTR, 1, &workspace);
    dnn_finish(&pack, part);
    status = pack.status ? pack.status : dnn->cudnnBackendExecute(dnn->handle, p->plan, part);
    destroy_parts(dnn, pack.parts, pack.n_parts);
    if (!status)
        return ERR_OK;
    find_reason(dnn, reason, sizeof reason);
    return err_set(err, ERR_GPU, "cudnn: %s: %s", dnn->cudnnGetErrorString(status), reason);
}
