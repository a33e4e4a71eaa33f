#include "models/fill/lora_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/base/crc32c.h"
#include "kernels/base/file.h"

_Static_assert((int)FILL_MAX_LORAS <= (int)WEIGHT_MAX_PATCHES, "each LoRA is a patch of the weights");

/* --- the text of a setting --- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Without the blanks around it, as people write lists. The text is cut in place. */
static char *trim(char *text)
{
    size_t n;

    while (is_blank(*text))
        text++;
    for (n = strlen(text); n && is_blank(text[n - 1]); n--)
        text[n - 1] = 0;
    return text;
}

/* Splits a scale off the end of "FILE:SCALE"; a colon that is followed by no number belongs to the name. */
static enum err_code read_item(char *item, struct fill_lora *ret, struct err *err)
{
    char *colon, *end = NULL;

    item = trim(item);
    colon = strrchr(item, ':');
    *ret = (struct fill_lora){ item, 1 };
    if (colon && colon[1]) {
        const double scale = strtod(colon + 1, &end);

        if (*end == 0) {
            *colon = 0;
            item = trim(item);
            *ret = (struct fill_lora){ item, scale };
        }
    }
    if (!*item)
        return err_set(err, ERR_INVALID, "LoRA: a file's name is missing; write FILE or FILE:SCALE");
    if (!(ret->scale >= -FILL_MAX_LORA_SCALE && ret->scale <= FILL_MAX_LORA_SCALE))
        return err_set(err, ERR_INVALID, "LoRA '%s': the scale is %g; a number from -%d to %d is allowed", item,
                       ret->scale, FILL_MAX_LORA_SCALE, FILL_MAX_LORA_SCALE);
    return ERR_OK;
}

enum err_code fill_loras_add(struct fill_loras *l, const char *text, struct err *err)
{
    size_t used = l->n_text, n = strlen(text) + 1;
    char *item = l->text + used, *rest = item;

    if (n > sizeof l->text - used)
        return err_set(err, ERR_TOO_LARGE, "LoRA: the names of the files are longer than %zu bytes", sizeof l->text);
    memcpy(item, text, n);
    l->n_text += n;
    while ((item = strsep(&rest, ","))) {
        if (l->n == FILL_MAX_LORAS)
            return err_set(err, ERR_TOO_LARGE, "LoRA: more than %d files", FILL_MAX_LORAS);
        TRY(read_item(item, &l->items[l->n], err));
        l->n++;
    }
    return ERR_OK;
}

enum err_code fill_loras_choose(struct fill_loras *l, const char *const *options, int n_options, const char *setting,
                                struct err *err)
{
    for (int i = 0; i < n_options; i++)
        TRY(fill_loras_add(l, options[i], err));
    return n_options || !setting ? ERR_OK : fill_loras_add(l, setting, err);
}

/* --- files --- */

/* The first of `dir`/`name` in some forms that exists; *ret_found false: none does. */
static enum err_code try_forms(const char *const *forms, const char *dir, const char *name, struct arena *a,
                               const char **ret, bool *ret_found, struct err *err)
{
    struct stat st;
    char *path = NULL;

    for (*ret_found = false; *forms && !*ret_found; forms++) {
        TRY(arena_printf(a, &path, err, *forms, dir, name)); /* NOLINT */
        *ret_found = file_stat(path, &st);
        *ret = path;
    }
    return ERR_OK;
}

enum err_code lora_set_find(const char *dir, const char *name, struct arena *a, const char **ret, struct err *err)
{
    static const char *const in_folder[] = { "%s/%s", "%s/%s.safetensors", "%s/loras/%s", "%s/loras/%s.safetensors",
                                             NULL },
                             *const as_path[] = { "%s%s", "%s%s.safetensors", NULL };
    bool found = false;

    if (strchr(name, '/'))
        TRY(try_forms(as_path, "", name, a, ret, &found, err));
    if (!found && name[0] != '/')
        TRY(try_forms(in_folder, dir, name, a, ret, &found, err));
    if (found)
        return ERR_OK;
    if (name[0] == '/')
        return err_set(err, ERR_NOT_FOUND, "there is no LoRA %s: name the file that is meant", name);
    return err_set(err, ERR_NOT_FOUND,
                   "there is no LoRA '%s' in %s, nor in its folder loras: put the file there, or give its path", name,
                   dir);
}

void lora_scale_text(double scale, char ret[LORA_SCALE_TEXT_SIZE])
{
    for (int digits = 6; digits <= 17; digits++) {
        (void)snprintf(ret, LORA_SCALE_TEXT_SIZE, "%.*g", digits, scale);
        if (strtod(ret, NULL) == scale)
            break;
    }
}

static enum err_code describe(struct lora_set *s, const struct fill_lora *loras, struct arena *a, struct err *err)
{
    uint32_t crc = 0;
    char *text = NULL, *list = NULL;

    for (int i = 0; i < s->n; i++) {
        const char *digest = lora_digest(s->loras[i]), *name = file_short_name(loras[i].path);
        const double scale = loras[i].scale;
        char number[LORA_SCALE_TEXT_SIZE];

        crc = crc32c(crc, digest, strlen(digest));
        crc = crc32c(crc, &scale, sizeof scale);
        lora_scale_text(scale, number);
        TRY(arena_printf(a, &text, err, "%s%s%s:%s (%s)", text ? text : "", text ? ", " : "", name, number, digest));
        TRY(arena_printf(a, &list, err, "%s%s%s:%s", list ? list : "", list ? "," : "", name, number));
    }
    s->text = text;
    s->list = list;
    if (s->n)
        (void)snprintf(s->digest, sizeof s->digest, "+lora-%08x", (unsigned)crc);
    return ERR_OK;
}

enum err_code lora_set_open(const char *dir, const struct fill_lora *loras, int n, struct arena *a,
                            struct lora_set *ret, struct err *err)
{
    struct lora_set s = { 0 };

    for (; s.n < n; s.n++) {
        const char *path = NULL;

        TRY(lora_set_find(dir, loras[s.n].path, a, &path, err));
        TRY(lora_open(path, loras[s.n].scale, a, &s.loras[s.n], err));
    }
    TRY(describe(&s, loras, a, err));
    *ret = s;
    return ERR_OK;
}

/* --- merging --- */

static bool shape_in(const void *ctx, const char *name, int64_t *ret_rows, int64_t *ret_cols)
{
    struct weight_source s;

    if (!weight_set_has(ctx, "%s", name) || weight_set_source(ctx, name, &s, NULL))
        return false;
    *ret_rows = weight_source_rows(&s);
    *ret_cols = weight_source_cols(&s);
    return true;
}

enum err_code lora_set_apply(const struct lora_set *s, struct weight_set *ws, struct err *err)
{
    for (int i = 0; i < s->n; i++) {
        TRY(lora_check(s->loras[i], shape_in, ws, err));
        ws->patches[ws->n_patches++] = lora_patch(s->loras[i]);
    }
    return ERR_OK;
}

void lora_set_release(const struct lora_set *s)
{
    for (int i = 0; i < s->n; i++)
        lora_release(s->loras[i]);
}

bool lora_set_touches(const struct lora_set *s, bool (*holds)(const char *name))
{
    bool any = false;

    for (int i = 0; i < s->n; i++)
        any |= lora_touches(s->loras[i], holds);
    return any;
}
