#include "models/weights/weight_set.h"

#include <stdio.h>
#include <string.h>

#include "models/file/file_map.h"

enum { NAME_SIZE = TENSOR_NAME_MAX + 1, MAX_PREFIXES = 15 };

static const struct tensor_entry *find_in(const struct tensor_file *const *files, int n_files, const char *prefix,
                                          const char *name)
{
    char full[NAME_SIZE];
    const struct tensor_entry *e = NULL;
    int n = snprintf(full, sizeof full, "%s%s", prefix, name);

    if (n < 0 || (size_t)n >= sizeof full)
        return NULL;
    for (int i = 0; i < n_files && !e; i++)
        e = tensor_file_find(files[i], (struct span){ full, (size_t)n });
    return e;
}

static bool any_starts(const struct weight_set *ws, const char *prefix)
{
    for (int f = 0; f < ws->n_files; f++)
        for (int i = 0; i < ws->files[f]->n_entries; i++)
            if (span_starts(ws->files[f]->entries[i].name, prefix))
                return true;
    return false;
}

/* Longest first, equally long ones in the order given, "" last. Returns their number. */
static int order_prefixes(const char *const *given, const char *ret[MAX_PREFIXES + 1])
{
    int n = 0;

    for (int i = 0; given && given[i] && n < MAX_PREFIXES; i++) {
        int at = n++;

        for (; at > 0 && strlen(ret[at - 1]) < strlen(given[i]); at--)
            ret[at] = ret[at - 1];
        ret[at] = given[i];
    }
    ret[n++] = "";
    return n;
}

static const char *find_prefix(const struct weight_set *ws, const char *const *given, const char *probe)
{
    const char *prefixes[MAX_PREFIXES + 1];
    int n = order_prefixes(given, prefixes);

    for (int i = 0; i < n; i++) {
        if (strlen(prefixes[i]) < sizeof ws->prefix && find_in(ws->files, ws->n_files, prefixes[i], probe))
            return prefixes[i];
        if (!strcmp(prefixes[i], WEIGHT_SET_MERGED_PREFIX) && any_starts(ws, WEIGHT_SET_MERGED_PREFIX))
            return NULL;
    }
    return NULL;
}

static enum err_code check_names_once(const struct weight_set *ws, struct err *err)
{
    for (int f = 1; f < ws->n_files; f++)
        for (int i = 0; i < ws->files[f]->n_entries; i++)
            for (int before = 0; before < f; before++)
                if (tensor_file_find(ws->files[before], ws->files[f]->entries[i].name))
                    return err_set(
                        err, ERR_CORRUPT,
                        "tensor '%.*s' is in both %s and %s: take one of them out of the folder, or fetch both again",
                        SPAN_ARG(ws->files[f]->entries[i].name), ws->files[before]->path, ws->files[f]->path);
    return ERR_OK;
}

enum err_code weight_set_init(struct weight_set *ws, const struct tensor_file *files, int n_files,
                              const char *const *prefixes, const char *probe, struct err *err)
{
    struct weight_set set = { .n_files = n_files };
    const char *prefix;

    if (n_files < 1 || n_files > SHARDS_MAX_FILES)
        return err_set(err, ERR_TOO_LARGE, "weights: %d files; 1 to %d can be joined", n_files, SHARDS_MAX_FILES);
    for (int i = 0; i < n_files; i++)
        set.files[i] = &files[i];
    TRY(check_names_once(&set, err));
    prefix = find_prefix(&set, prefixes, probe);
    if (!prefix)
        return err_set(err, ERR_NOT_FOUND, "%s: tensor '%s' is missing: fetch the file again, or take another",
                       files[0].path, probe);
    memcpy(set.prefix, prefix, strlen(prefix) + 1);
    *ws = set;
    return ERR_OK;
}

/* --- names --- */

static bool format_name(char name[NAME_SIZE], const char *fmt, va_list ap)
{
    int n = vsnprintf(name, NAME_SIZE, fmt, ap);

    return n >= 0 && n < NAME_SIZE;
}

const struct tensor_entry *weight_set_find(const struct weight_set *ws, const char *fmt, ...)
{
    char name[NAME_SIZE];
    va_list ap;
    bool fits;

    va_start(ap, fmt);
    fits = format_name(name, fmt, ap);
    va_end(ap);
    return fits ? find_in(ws->files, ws->n_files, ws->prefix, name) : NULL;
}

/* The names in the files of what the network calls `name`; false: it has none. */
static bool names_of(const struct weight_set *ws, const char *name, struct weight_names *ret)
{
    ret->n = 1;
    ret->halves_swapped = false;
    if (ws->rename)
        return ws->rename(name, ret);
    return snprintf(ret->name[0], sizeof ret->name[0], "%s", name) < (int)sizeof ret->name[0];
}

bool weight_set_has(const struct weight_set *ws, const char *fmt, ...)
{
    struct weight_names names;
    char name[NAME_SIZE];
    va_list ap;
    bool fits;

    va_start(ap, fmt);
    fits = format_name(name, fmt, ap);
    va_end(ap);
    return fits && names_of(ws, name, &names) && find_in(ws->files, ws->n_files, ws->prefix, names.name[0]);
}

const struct tensor_file *weight_set_file_of(const struct weight_set *ws, const struct tensor_entry *e)
{
    for (int i = 1; i < ws->n_files; i++)
        if (e >= ws->files[i]->entries && e < ws->files[i]->entries + ws->files[i]->n_entries)
            return ws->files[i];
    return ws->files[0];
}

/* --- scales --- */

static bool is_float8(enum dtype t)
{
    return t == DT_F8_E4M3 || t == DT_F8_E5M2;
}

static bool contains(struct span text, const char *word)
{
    return memmem(text.ptr, text.len, word, strlen(word)) != NULL;
}

/* Whether an entry is named "<layer>.<rest>"; the rest. */
static bool is_of_layer(const struct weight_set *ws, const struct tensor_entry *e, struct span layer, struct span *ret)
{
    size_t skipped = strlen(ws->prefix);
    struct span name = e->name;

    if (!span_starts(name, ws->prefix) || name.len < skipped + layer.len + 2)
        return false;
    if (memcmp(name.ptr + skipped, layer.ptr, layer.len) != 0 || name.ptr[skipped + layer.len] != '.')
        return false;
    *ret = (struct span){ name.ptr + skipped + layer.len + 1, name.len - skipped - layer.len - 1 };
    return true;
}

/* What a tensor beside the values of a layer says about them. */
enum beside { BESIDE_UNKNOWN, BESIDE_SCALE, BESIDE_WITHOUT_EFFECT };

static enum beside beside_of(const struct tensor_entry *e, struct span rest)
{
    if (span_is(rest, "weight") || contains(rest, "bias"))
        return BESIDE_UNKNOWN;
    if (contains(rest, "scale"))
        return contains(rest, "input") ? BESIDE_WITHOUT_EFFECT : BESIDE_SCALE;
    /* ComfyUI names the format of a layer's values in JSON */
    if (span_is(rest, "comfy_quant") && e->dtype == DT_U8) {
        err_ignore(file_map_wait(e->data, e->bytes, NULL)); /* the layer's own wait fails as well */
        return contains((struct span){ e->data, e->bytes }, "float8_e") ? BESIDE_WITHOUT_EFFECT : BESIDE_UNKNOWN;
    }
    return BESIDE_UNKNOWN;
}

/* "a.b.weight" -> "a.b" */
static struct span layer_of(struct span name)
{
    size_t n = name.len;

    while (n > 0 && name.ptr[n - 1] != '.')
        n--;
    return (struct span){ name.ptr, n ? n - 1 : 0 };
}

/* The entries beside a layer's values of 8 bits: the scale, or NULL; with `take`, all that is known counts as taken. */
static enum err_code find_scale(const struct weight_set *ws, const struct tensor_entry *values, bool take,
                                const struct tensor_entry **ret, struct err *err)
{
    const size_t skipped = strlen(ws->prefix);
    const struct span layer = layer_of((struct span){ values->name.ptr + skipped, values->name.len - skipped });
    struct span rest;

    *ret = NULL;
    if (!is_float8(values->dtype) || !span_ends(values->name, ".weight"))
        return ERR_OK;
    for (int f = 0; f < ws->n_files; f++)
        for (int i = 0; i < ws->files[f]->n_entries; i++) {
            struct tensor_entry *e = &ws->files[f]->entries[i];
            enum beside what = is_of_layer(ws, e, layer, &rest) ? beside_of(e, rest) : BESIDE_UNKNOWN;

            if (what == BESIDE_SCALE && *ret)
                return err_set(err, ERR_UNSUPPORTED,
                               "%s: the values of '%.*s' have two scales, '%.*s' and '%.*s'; use a file with one, or a "
                               "BF16 or GGUF file",
                               ws->files[f]->path, SPAN_ARG(values->name), SPAN_ARG((*ret)->name), SPAN_ARG(e->name));
            if (what == BESIDE_SCALE)
                *ret = e;
            e->used |= take && what != BESIDE_UNKNOWN;
        }
    return ERR_OK;
}

static int64_t count_of(const struct tensor_entry *e)
{
    int64_t n = 1;

    for (int i = 0; i < e->n_dims; i++)
        n *= e->dims[i];
    return n;
}

static int64_t blocks(int64_t n)
{
    return (n + WEIGHT_SCALE_BLOCK - 1) / WEIGHT_SCALE_BLOCK;
}

static bool is_scale_shape(const struct tensor_entry *scale, const struct tensor_entry *values)
{
    const int64_t n = count_of(scale);

    if (n == 1)
        return true;
    if (values->n_dims != 2 || n < 1)
        return false;
    return (scale->n_dims <= 2 && n == scale->dims[0] && n == values->dims[0]) ||
           (scale->n_dims == 2 && scale->dims[0] == blocks(values->dims[0]) &&
            scale->dims[1] == blocks(values->dims[1]));
}

/* A scale that is zero, negative, not finite or huge belongs to a damaged file: the values of F8_E4M3 end at 448. */
static enum err_code check_scale(const struct weight_set *ws, const struct tensor_entry *scale,
                                 const struct tensor_entry *values, struct err *err)
{
    const char *path = weight_set_file_of(ws, scale)->path;

    if ((scale->dtype != DT_F32 && scale->dtype != DT_BF16 && scale->dtype != DT_F16) || !is_scale_shape(scale, values))
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s: the scale '%.*s' is not one value, one a row or one a block of 128 x 128 of '%.*s', in F32, "
            "F16 or BF16; use a BF16 or GGUF file",
            path, SPAN_ARG(scale->name), SPAN_ARG(values->name));
    for (int64_t i = 0, n = count_of(scale); i < n; i++) {
        const float v = weight_scale_value(scale, i);

        if (!(v > 0 && v <= WEIGHT_SCALE_MAX))
            return err_set(err, ERR_CORRUPT,
                           "%s: the scale '%.*s' is %g, not above 0 and at most %g; fetch the file again", path,
                           SPAN_ARG(scale->name), (double)v, (double)WEIGHT_SCALE_MAX);
    }
    return ERR_OK;
}

/* --- sources --- */

/* A tensor that is not found may be there in a type that is not read. */
static enum err_code missing(const struct weight_set *ws, const char *name, struct err *err)
{
    char full[NAME_SIZE];

    (void)snprintf(full, sizeof full, "%s%s", ws->prefix, name);
    for (int f = 0; f < ws->n_files; f++)
        for (const struct tensor_entry *e = ws->files[f]->entries + ws->files[f]->n_entries,
                                       *end = e + ws->files[f]->n_unread;
             e < end; e++)
            if (span_is(e->name, full))
                return err_set(err, ERR_UNSUPPORTED,
                               "%s: tensor '%s' is of type %s, which is not read; use a BF16, F16 or GGUF file",
                               ws->files[f]->path, full, e->type_name);
    return err_set(err, ERR_NOT_FOUND, "%s: tensor '%s' is missing: fetch the file again, or take another",
                   ws->files[0]->path, full);
}

static enum err_code find_piece(const struct weight_set *ws, const char *name, struct weight_piece *ret,
                                struct err *err)
{
    const struct tensor_entry *e = find_in(ws->files, ws->n_files, ws->prefix, name);

    if (!e)
        return missing(ws, name, err);
    if (dtype_is_integer(e->dtype))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: tensor '%s%s' holds %s values, which cannot be weights: take another file",
                       weight_set_file_of(ws, e)->path, ws->prefix, name, dtype_info(e->dtype)->name);
    ret->entry = e;
    TRY(find_scale(ws, e, false, &ret->scale, err));
    return ret->scale ? check_scale(ws, ret->scale, e, err) : ERR_OK;
}

/* Adds the rows of a piece to the shape of the whole. */
static enum err_code join(const struct weight_set *ws, struct weight_source *s, const struct tensor_entry *e,
                          struct err *err)
{
    bool fits = e->n_dims == s->n_dims && s->n_dims >= 1;

    for (int i = 1; fits && i < s->n_dims; i++)
        fits = e->dims[i] == s->dims[i];
    if (!fits || __builtin_add_overflow(s->dims[0], e->dims[0], &s->dims[0]))
        return err_set(err, ERR_CORRUPT, "%s: tensor '%.*s' does not have the row length of the others of '%s'",
                       weight_set_file_of(ws, e)->path, SPAN_ARG(e->name), s->name);
    return ERR_OK;
}

static void find_patches(const struct weight_set *ws, struct weight_source *s)
{
    for (int i = 0; i < ws->n_patches; i++)
        if (ws->patches[i].touches(ws->patches[i].ctx, s->name))
            s->patches[s->n_patches++] = &ws->patches[i];
}

enum err_code weight_set_source(const struct weight_set *ws, const char *name, struct weight_source *ret,
                                struct err *err)
{
    struct weight_source s = { .name = name, .factor = 1 };
    struct weight_names names;

    if (!names_of(ws, name, &names))
        return err_set(err, ERR_NOT_FOUND, "%s: tensor '%s' is missing: fetch the file again, or take another",
                       ws->files[0]->path, name);
    for (; s.n_pieces < names.n; s.n_pieces++) {
        struct weight_piece *p = &s.pieces[s.n_pieces];

        TRY(find_piece(ws, names.name[s.n_pieces], p, err));
        if (s.n_pieces) {
            TRY(join(ws, &s, p->entry, err));
            continue;
        }
        s.n_dims = p->entry->n_dims;
        memcpy(s.dims, p->entry->dims, sizeof s.dims);
    }
    s.halves_swapped = names.halves_swapped;
    if (s.halves_swapped && s.dims[0] % 2)
        return err_set(err, ERR_CORRUPT, "%s: tensor '%s' has %lld rows, which cannot be halved", ws->files[0]->path,
                       names.name[0], (long long)s.dims[0]);
    find_patches(ws, &s);
    s.plain = s.n_pieces == 1 && !s.halves_swapped && !s.n_patches &&
              (!s.pieces[0].scale || count_of(s.pieces[0].scale) == 1);
    if (s.plain && s.pieces[0].scale)
        s.factor = weight_scale_value(s.pieces[0].scale, 0);
    *ret = s;
    return ERR_OK;
}

/* --- what was taken --- */

void weight_set_take(const struct weight_set *ws, const struct weight_source *s)
{
    const struct tensor_entry *scale;

    for (int i = 0; i < s->n_pieces; i++) {
        const struct tensor_file *f = weight_set_file_of(ws, s->pieces[i].entry);

        f->entries[s->pieces[i].entry - f->entries].used = true;
        (void)find_scale(ws, s->pieces[i].entry, true, &scale, NULL);
    }
}

static bool is_taken(const struct weight_set *ws, struct span name, const char *end)
{
    char full[NAME_SIZE];
    const struct tensor_entry *e = NULL;
    int n = snprintf(full, sizeof full, "%.*s%s", SPAN_ARG(name), end);

    if (n < 0 || n >= (int)sizeof full)
        return false;
    for (int i = 0; i < ws->n_files && !e; i++)
        e = tensor_file_find(ws->files[i], (struct span){ full, (size_t)n });
    return e && e->used;
}

/* Whether an entry that was not taken is named like a part of a layer that was: for every "<layer>.<rest>" of it, the
 * layer's values were taken. */
static bool belongs_to_taken(const struct weight_set *ws, struct span name)
{
    static const char *const ends[] = { "", ".weight", ".bias", ".scale" };

    for (struct span layer = layer_of(name); layer.len > strlen(ws->prefix); layer = layer_of(layer))
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
            if (is_taken(ws, layer, ends[i]))
                return true;
    return false;
}

/* ComfyUI's older files of scaled fp8 say by an empty tensor that they are that. */
static bool is_marker(const struct weight_set *ws, const struct tensor_entry *e)
{
    const size_t skipped = strlen(ws->prefix);

    return span_starts(e->name, ws->prefix) &&
           span_is((struct span){ e->name.ptr + skipped, e->name.len - skipped }, "scaled_fp8");
}

enum err_code weight_set_check_taken(const struct weight_set *ws, int *ret_others, struct err *err)
{
    int others = 0;

    for (int f = 0; f < ws->n_files; f++)
        for (int i = 0; i < ws->files[f]->n_entries + ws->files[f]->n_unread; i++) {
            const struct tensor_entry *e = &ws->files[f]->entries[i];

            if (e->used || is_marker(ws, e))
                continue;
            if (span_starts(e->name, ws->prefix) && belongs_to_taken(ws, e->name))
                return err_set(
                    err, ERR_UNSUPPORTED,
                    "%s: tensor '%.*s' belongs to a layer of the model and is of no kind that is understood: "
                    "without it the layer's values are not what the file means; use a BF16, F16 or GGUF file",
                    ws->files[f]->path, SPAN_ARG(e->name));
            others++;
        }
    *ret_others = others;
    return ERR_OK;
}
