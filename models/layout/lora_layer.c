#include "models/layout/lora_layer.h"

#include <stdlib.h>

#include "models/file/proof.h"

struct item {
    struct lora_key key;
    const struct tensor_entry *entry;
};

static bool is_zero(const struct tensor_entry *e)
{
    return span_is_zero((struct span){ e->data, e->bytes });
}

/* Every tensor counts here, so one of a type that is not read cannot be left out. */
static enum err_code check_types(const struct tensor_file *f, struct err *err)
{
    const struct tensor_entry *unread = f->entries + f->n_entries;

    if (!f->n_unread)
        return ERR_OK;
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: tensor '%.*s' has a type that is not read, %s; F32, F16, BF16 and fp8 are", f->path,
                   SPAN_ARG(unread->name), unread->type_name);
}

static int compare_items(const void *x, const void *y)
{
    const struct lora_key *a = &((const struct item *)x)->key, *b = &((const struct item *)y)->key;
    size_t n = a->layer.len < b->layer.len ? a->layer.len : b->layer.len;
    int order = n ? memcmp(a->layer.ptr, b->layer.ptr, n) : 0;

    if (order)
        return order;
    if (a->layer.len != b->layer.len)
        return a->layer.len < b->layer.len ? -1 : 1;
    return (a->role > b->role) - (a->role < b->role);
}

/* The end of the layer that begins at item i. */
static int layer_end(const struct item *items, int n, int i)
{
    int end = i + 1;

    while (end < n && span_eq(items[end].key.layer, items[i].key.layer))
        end++;
    return end;
}

/* Whether what a layer has changes anything: a product with a matrix of zeros does not. */
static bool has_effect(const struct item *items, int begin, int end)
{
    bool product = true, any_product = false, other = false;

    for (int i = begin; i < end; i++) {
        enum lora_role role = items[i].key.role;
        bool zero = is_zero(items[i].entry);

        if (role == LORA_A || role == LORA_B) {
            any_product = true;
            product = product && !zero;
        } else if (role != LORA_ALPHA) {
            other = other || !zero;
        }
    }
    return other || (any_product && product);
}

static enum err_code check_kinds(const struct tensor_file *f, struct err *err)
{
    for (int i = 0; i < f->n_entries; i++) {
        const char *kind = lora_key_other_kind(f->entries[i].name);

        if (kind)
            return err_set(
                err, ERR_UNSUPPORTED,
                "%s is %s ('%.*s'), which cannot be added to a model here; take a plain LoRA (lora_A and lora_B)",
                f->path, kind, SPAN_ARG(f->entries[i].name));
    }
    return ERR_OK;
}

/* What is neither a part of a LoRA nor without effect. */
static enum err_code check_role(const struct tensor_file *f, const struct item *item, struct err *err)
{
    const struct lora_key *k = &item->key;
    bool norm = k->place == LORA_TRANSFORMER && k->module.norm;

    if (norm && (k->role == LORA_PLAIN || !is_zero(item->entry)))
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s: '%.*s' changes a QK norm, as control LoRAs (Canny, Depth) do; take a LoRA for FLUX.1-dev or Fill",
            f->path, SPAN_ARG(item->entry->name));
    if (k->role == LORA_PLAIN || k->role == LORA_NO_ROLE)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: '%.*s' is no part of a LoRA (.lora_A.weight, .lora_down.weight, .alpha); is it a whole "
                       "model? Take a LoRA's file",
                       f->path, SPAN_ARG(item->entry->name));
    return ERR_OK;
}

struct count {
    int layers, text_encoders, elsewhere;
    struct span text_encoder, other; /* examples */
};

static void count_layers(const struct item *items, int n, struct count *ret)
{
    for (int i = 0, end; i < n; i = end) {
        const struct lora_key *k = &items[i].key;

        end = layer_end(items, n, i);
        if (k->place == LORA_TEXT_ENCODER && !has_effect(items, i, end))
            continue;
        ret->layers++;
        if (k->place == LORA_TEXT_ENCODER && !ret->text_encoders++)
            ret->text_encoder = k->layer;
        if (k->place == LORA_ELSEWHERE && !ret->elsewhere++)
            ret->other = k->layer;
    }
}

static enum err_code check_places(const struct tensor_file *f, const struct item *items, int n, struct err *err)
{
    struct count c = { 0 };

    count_layers(items, n, &c);
    if (!c.layers)
        return err_set(err, ERR_UNSUPPORTED, "%s: no layer of a transformer is in it", f->path);
    if (c.elsewhere)
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s: %d of its %d layers are not of a FLUX.1 transformer (e.g. '%.*s'); take a LoRA for FLUX.1-dev or Fill",
            f->path, c.elsewhere, c.layers, SPAN_ARG(c.other));
    if (c.text_encoders)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: %d of its %d layers are for the text encoders (e.g. '%.*s'), which this worker does not "
                       "change; take a LoRA of the transformer alone",
                       f->path, c.text_encoders, c.layers, SPAN_ARG(c.text_encoder));
    return ERR_OK;
}

static enum err_code add_item(const struct tensor_file *f, const struct item *item, struct lora_layer *l,
                              struct err *err)
{
    const struct tensor_entry **at = &l->entries[item->key.role];

    if (*at)
        return err_set(err, ERR_CORRUPT, "%s: '%.*s' and '%.*s' are the same part of one layer", f->path,
                       SPAN_ARG((*at)->name), SPAN_ARG(item->entry->name));
    *at = item->entry;
    return ERR_OK;
}

static enum err_code check_styles(const struct tensor_file *f, const struct lora_layer *layers, int n, struct err *err)
{
    for (int i = 1; i < n; i++)
        if (layers[i].key.style != layers[0].key.style)
            return err_set(err, ERR_UNSUPPORTED,
                           "%s names its layers in two ways ('%.*s', '%.*s'); save it with names of one kind", f->path,
                           SPAN_ARG(layers[0].key.layer), SPAN_ARG(layers[i].key.layer));
    return ERR_OK;
}

static enum err_code read_items(const struct tensor_file *f, struct arena *a, struct item **ret, struct err *err)
{
    struct item *items = NULL;

    TRY(arena_alloc(a, (size_t)f->n_entries, sizeof *items, &items, err));
    TRY(proof_end_of_factors(f, err));
    for (int i = 0; i < f->n_entries; i++) {
        items[i].entry = &f->entries[i];
        lora_key_read(f->entries[i].name, &items[i].key);
        if (items[i].key.place != LORA_TEXT_ENCODER)
            TRY(check_role(f, &items[i], err));
        TRY(proof_factor(items[i].entry, f->path, err));
    }
    qsort(items, (size_t)f->n_entries, sizeof *items, compare_items);
    *ret = items;
    return ERR_OK;
}

static enum err_code join(const struct tensor_file *f, const struct item *items, struct lora_layer *layers, int *ret_n,
                          struct err *err)
{
    int n = 0;

    for (int i = 0; i < f->n_entries; i++) {
        if (items[i].key.place != LORA_TRANSFORMER || items[i].key.module.norm)
            continue;
        if (!n || !span_eq(layers[n - 1].key.layer, items[i].key.layer)) {
            if (n == LORA_MAX_LAYERS)
                return err_set(err, ERR_TOO_LARGE, "%s: more than %d layers", f->path, LORA_MAX_LAYERS);
            layers[n++].key = items[i].key;
        }
        TRY(add_item(f, &items[i], &layers[n - 1], err));
    }
    if (!n)
        return err_set(err, ERR_UNSUPPORTED, "%s: no layer of a transformer is in it", f->path);
    *ret_n = n;
    return check_styles(f, layers, n, err);
}

enum err_code lora_layers_read(const struct tensor_file *f, struct arena *a, struct lora_layer **ret, int *ret_n,
                               struct err *err)
{
    struct lora_layer *layers = NULL;
    struct item *items = NULL;

    TRY(check_types(f, err));
    TRY(check_kinds(f, err));
    TRY(arena_alloc(a, LORA_MAX_LAYERS, sizeof *layers, &layers, err));
    TRY(read_items(f, a, &items, err));
    TRY(check_places(f, items, f->n_entries, err));
    TRY(join(f, items, layers, ret_n, err));
    *ret = layers;
    return ERR_OK;
}
