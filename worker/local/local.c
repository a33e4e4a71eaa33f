#include "worker/local/local.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/file.h"
#include "worker/cli/cli.h"
#include "worker/cli/output.h"

extern char **environ;

/* --- defaults, from the settings of the service --- */

/* Keeps the first problem with a setting that gives this command a default; the others matter to `serve` only. */
static void keep_problem(void *ctx, const char *problem)
{
    static const char *const names[] = {
        "STEPS=",        "GUIDANCE=",       "BACKEND=",     "PRECISION=",      "MODEL_DIR=",
        "TRANSFORMER=",  "MAX_PIXELS=",     "GEOMETRY=",    "PATCH_MATCH=",    "MASK_GROW=",
        "MASK_FEATHER=", "MASK_MAX_SHARE=", "OUTPUT_JPEG=", "OUTPUT_HUFFMAN=", "SECOND_PASS=",
        "DECODE_JAIL=",  "HEIC=",           "SHADOW=",      "WEIGHTS=",
    };
    struct err *err = ctx;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strstr(problem, names[i]) == problem)
            (void)err_set(err, ERR_INVALID, "%s", problem);
}

enum err_code local_read_settings(struct arena *a, struct config *ret, struct err *err)
{
    (void)config_load_all(environ, a, ret, keep_problem, err);
    return err->code;
}

int local_default_precision(const struct config *c)
{
    const char *set = getenv("PRECISION");

    return set && *set ? c->precision : PRECISION_DEFAULT;
}

/* --- inputs --- */

enum err_code local_read_paint(const char *text, struct arena *a, struct edit_paint *ret, struct err *err)
{
    static const char solid[] = "solid:";
    const char *digits = text ? text + sizeof solid - 1 : NULL;
    unsigned rgb;

    *ret = (struct edit_paint){ .name = text };
    if (!text)
        return ERR_OK;
    if (strcmp(text, "identity") == 0) {
        ret->kind = EDIT_PAINT_IDENTITY;
        return ERR_OK;
    }
    if (strncmp(text, solid, sizeof solid - 1) != 0) {
        ret->kind = EDIT_PAINT_FILE;
        ret->name = file_short_name(text);
        return file_read(text, IMAGE_MAX_FILE_BYTES, a, &ret->file, err);
    }
    ret->kind = EDIT_PAINT_SOLID;
    if (strlen(digits) != 6 || digits[strspn(digits, "0123456789abcdefABCDEF")] || sscanf(digits, "%x", &rgb) != 1)
        return err_set(err, ERR_INVALID, "--paint: '%s' is not a colour as solid:RRGGBB, six hexadecimal digits", text);
    for (int c = 0; c < 3; c++)
        ret->rgb[c] = (uint8_t)(rgb >> (16 - 8 * c));
    return ERR_OK;
}

/* Reads an input; where it is missing, says what to put there. */
static enum err_code read_input(const char *dir, const char *name, const char *what, struct arena *a, struct span *ret,
                                struct err *err)
{
    struct err why = { 0 };
    enum err_code rc = ERR_OK;
    char *path = NULL;

    TRY(arena_printf(a, &path, err, "%s/%s", dir, name));
    rc = file_read(path, IMAGE_MAX_FILE_BYTES, a, ret, &why);
    if (rc != ERR_NOT_FOUND)
        return rc ? err_set(err, rc, "%s", why.msg) : ERR_OK;
    if (!file_is_folder(dir))
        return err_set(err, rc, "there is no folder '%.100s': make it, and put original.jpg and mask_auto.png into it",
                       dir);
    return err_set(err, rc, "there is no %s in '%.100s': put %s there under this name", name, dir, what);
}

enum err_code local_read_inputs(const char *dir, struct arena *a, struct span *ret_original, struct span *ret_mask,
                                struct err *err)
{
    TRY(read_input(dir, "original.jpg", "the photo, JPEG or PNG,", a, ret_original, err));
    return read_input(dir, "mask_auto.png",
                      "a picture that is white where the photo is to be painted anew, PNG or JPEG,", a, ret_mask, err);
}

/* --- the job --- */

void local_show_painting(void *progress, enum fill_phase phase, int done, int total)
{
    progress_show(progress, fill_phase_name(phase), phase == FILL_PHASE_DENOISE ? "steps" : NULL, done, total);
}

static void ask_loading(void *ctx, int64_t *done, int64_t *total)
{
    *done = engine_status(ctx).percent;
    *total = 100;
}

enum err_code local_load(struct engine *e, struct progress *p, struct err *err)
{
    struct progress_watch w = { .progress = p, .what = "load", .ask = ask_loading, .ctx = e };
    enum err_code rc;

    progress_watch_begin(&w);
    rc = engine_load(e, err);
    progress_watch_end(&w, rc == ERR_OK);
    for (int i = 0; !rc && engine_note(e, i); i++)
        cli_warn(engine_note(e, i));
    return rc;
}

/* --- results --- */

static enum err_code write_one(const char *dir, const char *name, struct span bytes, int width, int height,
                               struct arena *a, struct err *err)
{
    char *path = NULL;

    TRY(arena_printf(a, &path, err, "%s/%s", dir, name));
    TRY(file_write(path, bytes, err));
    output_wrote(path, width, height);
    return ERR_OK;
}

enum err_code local_write_results(const char *dir, const struct edit_result *r, struct arena *a, struct err *err)
{
    const struct picture_files *f = &r->files;

    TRY(write_one(dir, "edited.jpg", f->edited, f->width, f->height, a, err));
    TRY(write_one(dir, "preview.jpg", f->preview, f->preview_width, f->preview_height, a, err));
    return r->png.len ? write_one(dir, "edited.png", r->png, f->width, f->height, a, err) : ERR_OK;
}

/* --- what a session would say --- */

static void add_plain(struct json *parent, const char *name, const struct document_field *f)
{
    struct json *list;

    switch (f->kind) {
    case DOCUMENT_K_TEXT:
        json_add_string(parent, name, f->text);
        break;
    case DOCUMENT_K_INTEGER:
    case DOCUMENT_K_TIMESTAMP:
        json_add_int(parent, name, f->integer);
        break;
    case DOCUMENT_K_DOUBLE:
        json_add_number(parent, name, f->number);
        break;
    case DOCUMENT_K_BOOL:
        json_add_bool(parent, name, f->integer);
        break;
    case DOCUMENT_K_TEXTS:
        list = json_add_array(parent, name);
        for (int i = 0; i < f->n_texts; i++)
            json_add_string(list, NULL, f->texts[i]);
        break;
    default: /* a deleted field is simply not written */
        break;
    }
}

static void add_members(struct json *parent, const struct document_fields *fields, int from, int to, const char *map);

/* Field i and, where it is a map or a list, its members; `name` is NULL in a list. */
static void add_field(struct json *parent, const struct document_fields *fields, int i, const char *name)
{
    const struct document_field *f = &fields->list[i];
    int next = document_next(fields, i);
    struct json *list;

    if (f->kind == DOCUMENT_K_MAP) {
        add_members(json_add_object(parent, name), fields, i + 1, next, f->path);
    } else if (f->kind == DOCUMENT_K_LIST) {
        list = json_add_array(parent, name);
        for (int k = i + 1; k < next; k = document_next(fields, k))
            add_field(list, fields, k, NULL);
    } else
        add_plain(parent, name, f);
}

/* Adds the fields from `from` to before `to`, under their names below `map`. */
static void add_members(struct json *parent, const struct document_fields *fields, int from, int to, const char *map)
{
    for (int i = from; i < to; i = document_next(fields, i))
        add_field(parent, fields, i, fields->list[i].path + strlen(map) + 1);
}

void local_add_outcome(struct json *root, enum err_code outcome, const struct err *why, const struct edit_result *r)
{
    struct document_report report = { .edited_path = "edited.jpg",
                                      .preview_path = "preview.jpg",
                                      .recipe = r->has_recipe ? &r->recipe : NULL,
                                      .picture = &r->picture,
                                      .times = r->times };
    struct document_fields fields = { .n = 0 };
    char detail[JOB_DETAIL_SIZE];
    struct json *ours;

    for (int i = 0; i < r->picture.n_warnings && i < DOCUMENT_MAX_WARNINGS; i++)
        report.warnings[report.n_warnings++] = r->picture.warnings[i];
    if (outcome) {
        report.error = job_error_of(outcome);
        report.detail = job_error_detail(outcome, why->msg, detail);
        document_add_failed(&fields, &report);
    } else
        document_add_completed(&fields, &report);
    for (int i = 0; i < fields.n; i++)
        if (!strchr(fields.list[i].path, '.'))
            add_plain(root, fields.list[i].path, &fields.list[i]);
    ours = json_add_object(root, DOCUMENT_OURS);
    for (int i = 0; i < fields.n; i = document_next(&fields, i))
        if (document_path_is_in(fields.list[i].path, DOCUMENT_OURS))
            add_members(ours, &fields, i, document_next(&fields, i), DOCUMENT_OURS);
}
