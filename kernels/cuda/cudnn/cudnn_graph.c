#include "kernels/cuda/cudnn/cudnn_graph.h"

#include <stdio.h>
#include <string.h>

enum { ENGINES_MAX = 12, NOTES_MAX = 16, REASON_MAX = 4096 };

static void note_status(struct cudnn_graph *g, int status, const char *what)
{
    if (status && !g->status) {
        g->status = status;
        g->failed = what;
    }
}

void *cudnn_part(struct cudnn_graph *g, int type, const char *what)
{
    void *part = NULL;

    if (g->n_parts == CUDNN_PARTS_MAX)
        note_status(g, -1, "more parts than a graph may have");
    if (g->status)
        return NULL;
    note_status(g, g->lib->cudnnBackendCreateDescriptor(type, &part), what);
    if (part)
        g->parts[g->n_parts++] = part;
    return part;
}

static void set(struct cudnn_graph *g, void *part, int attribute, int type, int64_t count, const void *values)
{
    if (!g->status)
        note_status(g, g->lib->cudnnBackendSetAttribute(part, attribute, type, count, values), "an attribute");
}

static void set_int(struct cudnn_graph *g, void *part, int attribute, int type, int value)
{
    set(g, part, attribute, type, 1, &value);
}

void cudnn_set_part(struct cudnn_graph *g, void *part, int attribute, void *value)
{
    set(g, part, attribute, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void finish(struct cudnn_graph *g, void *part)
{
    if (!g->status)
        note_status(g, g->lib->cudnnBackendFinalize(part), "a part of the graph");
}

void cudnn_finish_op(struct cudnn_graph *g, void *op)
{
    finish(g, op);
    g->op = op;
}

void *cudnn_describe(struct cudnn_graph *g, const struct cudnn_tensor *t)
{
    void *part = cudnn_part(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR, "a tensor");
    const int64_t alignment = 16;

    set_int(g, part, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE,
            t->dtype == DT_F32 ? CUDNN_DATA_FLOAT : CUDNN_DATA_BFLOAT16);
    set(g, part, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, t->n_dims, t->dims);
    set(g, part, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, t->n_dims, t->strides);
    set(g, part, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &t->uid);
    set(g, part, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    set(g, part, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &t->by_value);
    finish(g, part);
    return part;
}

/* --- plans --- */

/* Names the card, by its handle or by its description. */
static void set_card(struct cudnn_graph *g, void *part, int handle_attribute, int properties_attribute)
{
    if (g->lib->handle && handle_attribute)
        set(g, part, handle_attribute, CUDNN_TYPE_HANDLE, 1, &g->lib->handle);
    if (!g->lib->handle && properties_attribute)
        cudnn_set_part(g, part, properties_attribute, g->lib->properties);
}

static void *finish_graph(struct cudnn_graph *g)
{
    void *graph = cudnn_part(g, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, "the graph");

    cudnn_set_part(g, graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, g->op);
    set_card(g, graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, 0);
    finish(g, graph);
    return graph;
}

/* The engines that can compute the graph, the best first. */
static int64_t ask_heuristics(struct cudnn_graph *g, void *graph, void **engines)
{
    void *heuristics = cudnn_part(g, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, "heuristics");
    int64_t n = 0;

    cudnn_set_part(g, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    set_int(g, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, CUDNN_HEUR_MODE_A);
    set_card(g, heuristics, 0, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP);
    finish(g, heuristics);
    for (int i = 0; i < ENGINES_MAX; i++)
        engines[i] = cudnn_part(g, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, "a way to compute it");
    if (!g->status)
        note_status(g,
                    g->lib->cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, ENGINES_MAX, &n, engines),
                    "heuristics");
    return g->status ? 0 : n;
}

/* Whether the engine rounds each value once and gives the same bytes each time. */
static bool is_exact(const struct cudnn *lib, void *config, void *engine)
{
    static const bool refused[NOTES_MAX] = {
        [CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS] = true,
        [CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION] = true,
        [CUDNN_NUMERICAL_NOTE_FFT] = true,
        [CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC] = true,
        [CUDNN_NUMERICAL_NOTE_WINOGRAD] = true,
        [CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4] = true,
        [CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6] = true,
        [CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13] = true,
    };
    int notes[NOTES_MAX];
    int64_t n = 0;

    if (lib->cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n,
                                      &engine))
        return false;
    if (lib->cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, NOTES_MAX,
                                      &n, notes))
        return false;
    for (int64_t i = 0; i < n && i < NOTES_MAX; i++)
        if (notes[i] < 0 || notes[i] >= NOTES_MAX || refused[notes[i]])
            return false;
    return n <= NOTES_MAX;
}

/* A plan that uses one engine, or NULL: then the next engine is tried. */
static void *try_engine(struct cudnn_graph *g, void *config, int64_t workspace_bytes, int64_t *ret_bytes)
{
    struct cudnn_graph attempt = { .lib = g->lib }; /* a failure here is not a failure of the graph */
    void *engine = cudnn_part(&attempt, CUDNN_BACKEND_ENGINE_DESCRIPTOR, "an engine"), *plan;
    bool good = !attempt.status && is_exact(g->lib, config, engine);
    int64_t n = 0;

    plan = cudnn_part(&attempt, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, "a plan");
    if (good) {
        cudnn_set_part(&attempt, plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
        set_card(&attempt, plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
        finish(&attempt, plan);
        good = !attempt.status && !g->lib->cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                                                    CUDNN_TYPE_INT64, 1, &n, ret_bytes);
    }
    if (engine)
        (void)g->lib->cudnnBackendDestroyDescriptor(engine);
    if (good && *ret_bytes >= 0 && *ret_bytes <= workspace_bytes)
        return plan;
    if (plan)
        (void)g->lib->cudnnBackendDestroyDescriptor(plan);
    return NULL;
}

static void destroy_parts(const struct cudnn *lib, void **parts, int n)
{
    while (n > 0)
        (void)lib->cudnnBackendDestroyDescriptor(parts[--n]);
}

/* The first reason in the library's message, which has many lines; empty where it gives none. */
static void find_reason(const struct cudnn *lib, char *reason, size_t bytes)
{
    static const char mark[] = "Reason: ";
    char text[REASON_MAX] = "";
    const char *at;

    lib->cudnnGetLastErrorString(text, sizeof text);
    text[sizeof text - 1] = 0;
    at = strstr(text, mark);
    (void)snprintf(reason, bytes, "%s", at ? at + sizeof mark - 1 : "");
    reason[strcspn(reason, "\n")] = 0;
}

static enum err_code no_plan(const struct cudnn_graph *g, int64_t n_engines, struct err *err)
{
    char reason[ERR_MESSAGE_MAX];

    find_reason(g->lib, reason, sizeof reason);
    if (g->status)
        return err_set(err, ERR_UNSUPPORTED, "cudnn: %s: %s: %s", g->failed, g->lib->cudnnGetErrorString(g->status),
                       reason);
    return err_set(err, ERR_UNSUPPORTED, "cudnn: none of %lld engines may be used: %s", (long long)n_engines, reason);
}

enum err_code cudnn_plan_make(struct cudnn_graph *g, size_t workspace_bytes, struct cudnn_plan *ret, struct err *err)
{
    struct cudnn_plan p = { 0 };
    void *engines[ENGINES_MAX] = { 0 }, *graph = finish_graph(g);
    int64_t n = ask_heuristics(g, graph, engines);

    for (int64_t i = 0; i < n && i < ENGINES_MAX && !p.plan; i++)
        p.plan = try_engine(g, engines[i], (int64_t)workspace_bytes, &p.workspace_bytes);
    if (!p.plan) {
        enum err_code rc = no_plan(g, n, err);

        destroy_parts(g->lib, g->parts, g->n_parts);
        return rc;
    }
    p.n_parts = g->n_parts;
    memcpy(p.parts, g->parts, sizeof p.parts);
    *ret = p;
    return ERR_OK;
}

void cudnn_plan_done(const struct cudnn *lib, struct cudnn_plan *p)
{
    if (p->plan)
        (void)lib->cudnnBackendDestroyDescriptor(p->plan);
    destroy_parts(lib, p->parts, p->n_parts);
    *p = (struct cudnn_plan){ 0 };
}

enum err_code cudnn_plan_run(const struct cudnn *lib, const struct cudnn_plan *p, int n, const int64_t *uids,
                             void *const *data, void *workspace, struct err *err)
{
    struct cudnn_graph pack = { .lib = lib };
    void *part = cudnn_part(&pack, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, "its data");
    char reason[ERR_MESSAGE_MAX];
    int status;

    set(&pack, part, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, uids);
    set(&pack, part, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, data);
    set(&pack, part, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    finish(&pack, part);
    status = pack.status ? pack.status : lib->cudnnBackendExecute(lib->handle, p->plan, part);
    destroy_parts(lib, pack.parts, pack.n_parts);
    if (!status)
        return ERR_OK;
    find_reason(lib, reason, sizeof reason);
    return err_set(err, ERR_GPU, "cudnn: %s: %s", lib->cudnnGetErrorString(status), reason);
}
