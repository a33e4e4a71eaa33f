#include "worker/local/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/file.h"
#include "worker/base/crypto.h"
#include "worker/base/log.h"

enum { DEPTH = 16 };

/* Of picture_settings.h, in its order. */
static const char *const geometry_names[] = { "crop", "full", NULL };
static const char *const output_names[] = { "q95", "splice", NULL };
static const char *const second_pass_names[] = { "off", "seam", "both", NULL };
static const char *const paint_names[] = { "model", "identity", "solid", "file", NULL }; /* of enum edit_paint_kind */

/* ---- files ---- */

enum err_code record_file_of(struct span bytes, struct record_file *ret, struct err *err)
{
    unsigned char digest[CRYPTO_SHA256_BYTES];

    TRY(crypto_sha256(bytes, digest, err));
    ret->bytes = (int64_t)bytes.len;
    crypto_sha256_text(digest, ret->sha256);
    return ERR_OK;
}

bool record_same_file(const struct record_file *x, const struct record_file *y)
{
    return x->bytes == y->bytes && strcmp(x->sha256, y->sha256) == 0;
}

/* ---- making ---- */

static enum err_code describe_engine(const struct engine *e, struct arena *a, struct record *ret, struct err *err)
{
    char *digests = NULL;

    TRY(arena_alloc(a, 1, FILL_DIGESTS_SIZE, &digests, err));
    engine_model_digests(e, digests);
    ret->model = engine_model_name(e);
    ret->loras = engine_lora_list(e);
    ret->digests = digests;
    ret->backend = engine_backend_name(e);
    ret->precision = engine_precision(e);
    ret->kernels = engine_kernels(e);
    return ERR_OK;
}

enum err_code record_of_request(const struct edit_request *r, const struct engine *e, struct arena *a,
                                struct record *ret, struct err *err)
{
    struct record x = { .version = log_version(), .request = *r };
    const char *prompt = NULL;

    TRY(record_file_of(r->original, &x.original, err));
    TRY(record_file_of(r->mask, &x.mask, err));
    if (r->paint.kind == EDIT_PAINT_FILE)
        TRY(record_file_of(r->paint.file, &x.paint, err));
    TRY(prompt_build(&r->wishes, a, &prompt, err));
    if (e)
        prompt = engine_prompt(e, prompt);
    x.request.wishes = (struct prompt_wishes){ .prompt = prompt };
    if (e)
        TRY(describe_engine(e, a, &x, err));
    *ret = x;
    return ERR_OK;
}

enum err_code record_add_result(struct record *r, const struct edit_result *result, struct err *err)
{
    TRY(record_file_of(result->files.edited, &r->edited, err));
    return record_file_of(result->files.preview, &r->preview, err);
}

/* ---- writing ---- */

static void add_file(struct json *files, const char *name, const struct record_file *f)
{
    struct json *to;

    if (!*f->sha256)
        return;
    to = json_add_object(files, name);
    json_add_int(to, "bytes", f->bytes);
    json_add_string(to, "sha256", f->sha256);
}

static void add_request(struct json *to, const struct edit_request *r)
{
    char seed[24], rgb[8];

    json_add_string(to, "paint", paint_names[r->paint.kind]);
    if (r->paint.kind == EDIT_PAINT_SOLID) {
        (void)snprintf(rgb, sizeof rgb, "%02x%02x%02x", r->paint.rgb[0], r->paint.rgb[1], r->paint.rgb[2]);
        json_add_string(to, "rgb", rgb);
    }
    json_add_string(to, "prompt", r->wishes.prompt);
    json_add_int(to, "steps", r->fill.steps);
    json_add_number(to, "guidance", r->fill.guidance);
    (void)snprintf(seed, sizeof seed, "%llu", (unsigned long long)r->fill.seed);
    json_add_string(to, "seed", seed);
    json_add_string(to, "maskKind", mask_kind_word(r->mask_wishes.kind));
    json_add_string(to, "maskOrientation", mask_orientation_word(r->mask_wishes.orientation));
}

static void add_settings(struct json *to, const struct picture_settings *s)
{
    json_add_int(to, "maxPixels", s->max_pixels);
    json_add_string(to, "geometry", geometry_names[s->geometry]);
    json_add_bool(to, "patchMatch", s->patch_match);
    json_add_int(to, "maskGrow", s->mask_grow_px);
    json_add_int(to, "maskFeather", s->mask_feather_px);
    json_add_number(to, "maskMaxShare", s->mask_max_share);
    json_add_bool(to, "shadow", s->shadow);
    json_add_string(to, "outputJpeg", output_names[s->output]);
    json_add_bool(to, "fastHuffman", s->fast_huffman);
    json_add_string(to, "secondPass", second_pass_names[s->second_pass]);
    json_add_bool(to, "decodeJail", s->decode_jail);
    json_add_bool(to, "heic", s->heic);
}

static void add_engine(struct json *root, const struct record *r)
{
    struct json *to;

    if (!r->model)
        return;
    to = json_add_object(root, "engine");
    json_add_string(to, "model", r->model);
    if (r->loras)
        json_add_string(to, "loras", r->loras);
    json_add_string(to, "digests", r->digests);
    json_add_string(to, "backend", r->backend);
    json_add_string(to, "precision", r->precision);
    json_add_string(to, "kernels", r->kernels);
}

struct json *record_to_json(const struct record *r, struct arena *a)
{
    struct json *root = json_new_object(a), *files;

    json_add_int(root, "record", RECORD_FORMAT);
    json_add_string(root, "version", r->version);
    files = json_add_object(root, "inputs");
    add_file(files, "original.jpg", &r->original);
    add_file(files, "mask_auto.png", &r->mask);
    add_file(files, "paint", &r->paint);
    add_request(json_add_object(root, "request"), &r->request);
    add_settings(json_add_object(root, "settings"), &r->request.pictures);
    add_engine(root, r);
    files = json_add_object(root, "outputs");
    add_file(files, "edited.jpg", &r->edited);
    add_file(files, "preview.jpg", &r->preview);
    return root;
}

enum err_code record_write(const char *path, const struct record *r, struct arena *a, struct err *err)
{
    char *text = NULL;

    TRY(json_print(a, record_to_json(r, a), &text, err));
    TRY(arena_printf(a, &text, err, "%s\n", text));
    return file_write(path, span_of(text), err);
}

/* All that is decided before the edit, as a text. */
static enum err_code print_request(struct record r, struct arena *a, char **ret, struct err *err)
{
    r.edited = r.preview = (struct record_file){ 0 };
    return json_print(a, record_to_json(&r, a), ret, err);
}

enum err_code record_same_request(const struct record *x, const struct record *y, struct arena *a, bool *ret,
                                  struct err *err)
{
    char *one = NULL, *other = NULL;

    TRY(print_request(*x, a, &one, err));
    TRY(print_request(*y, a, &other, err));
    *ret = strcmp(one, other) == 0;
    return ERR_OK;
}

/* ---- reading ---- */

static enum err_code wrong(const char *name, const char *allowed, struct err *err)
{
    return err_set(err, ERR_INVALID, "record: '%s' is not %s", name, allowed);
}

static enum err_code read_text(const struct json *from, const char *name, const char **ret, struct err *err)
{
    *ret = json_string(json_get(from, name));
    return *ret ? ERR_OK : wrong(name, "a text", err);
}

static enum err_code read_int(const struct json *from, const char *name, int64_t least, int64_t most, int64_t *ret,
                              struct err *err)
{
    if (!json_integer(json_get(from, name), ret) || *ret < least || *ret > most)
        return err_set(err, ERR_INVALID, "record: '%s' is not a whole number from %lld to %lld", name, (long long)least,
                       (long long)most);
    return ERR_OK;
}

static enum err_code read_number(const struct json *from, const char *name, double most, double *ret, struct err *err)
{
    if (!json_number(json_get(from, name), ret) || !(*ret >= 0) || !(*ret <= most))
        return err_set(err, ERR_INVALID, "record: '%s' is not a number from 0 to %g", name, most);
    return ERR_OK;
}

static enum err_code read_bool(const struct json *from, const char *name, bool *ret, struct err *err)
{
    return json_bool(json_get(from, name), ret) ? ERR_OK : wrong(name, "true or false", err);
}

/* The place of the word in the list. */
static enum err_code read_word(const struct json *from, const char *name, const char *const *words, int *ret,
                               struct err *err)
{
    const char *text = json_text(json_get(from, name));

    for (int i = 0; words[i]; i++)
        if (strcmp(words[i], text) == 0) {
            *ret = i;
            return ERR_OK;
        }
    return wrong(name, "a word that this version knows", err);
}

static bool is_hexadecimal(const char *text, size_t n)
{
    return strlen(text) == n && strspn(text, "0123456789abcdef") == n;
}

static enum err_code read_file(const struct json *files, const char *name, struct record_file *ret, struct err *err)
{
    const struct json *f = json_get(files, name);
    const char *sha256 = json_text(json_get(f, "sha256"));

    if (!json_integer(json_get(f, "bytes"), &ret->bytes) || !is_hexadecimal(sha256, RECORD_SHA256_SIZE - 1))
        return wrong(name, "a file with its bytes and its sha256", err);
    (void)snprintf(ret->sha256, sizeof ret->sha256, "%s", sha256);
    return ERR_OK;
}

static enum err_code read_paint(const struct json *from, struct edit_paint *ret, struct err *err)
{
    const char *rgb = json_text(json_get(from, "rgb"));
    unsigned colour = 0;
    int kind = 0;

    TRY(read_word(from, "paint", paint_names, &kind, err));
    *ret = (struct edit_paint){ .kind = (enum edit_paint_kind)kind, .name = paint_names[kind] };
    if (kind != EDIT_PAINT_SOLID)
        return ERR_OK;
    if (!is_hexadecimal(rgb, 6) || sscanf(rgb, "%x", &colour) != 1)
        return wrong("rgb", "six hexadecimal digits", err);
    for (int c = 0; c < 3; c++)
        ret->rgb[c] = (uint8_t)(colour >> (16 - 8 * c));
    return ERR_OK;
}

static enum err_code read_seed(const struct json *from, uint64_t *ret, struct err *err)
{
    const char *text = json_text(json_get(from, "seed"));
    char *end;

    errno = 0;
    *ret = strtoull(text, &end, 10);
    if (!*text || *end || errno || strspn(text, "0123456789") != strlen(text))
        return wrong("seed", "a text of digits, up to 2^64 - 1", err);
    return ERR_OK;
}

static enum err_code read_request(const struct json *from, struct edit_request *ret, struct err *err)
{
    int64_t steps = 0;

    *ret = (struct edit_request){ .fill = { FILL_REQUEST_DEFAULTS } };
    TRY(read_paint(from, &ret->paint, err));
    TRY(read_text(from, "prompt", &ret->wishes.prompt, err));
    TRY(read_int(from, "steps", 1, FILL_MAX_STEPS, &steps, err));
    TRY(read_number(from, "guidance", FILL_MAX_GUIDANCE, &ret->fill.guidance, err));
    ret->fill.steps = (int)steps;
    ret->mask_wishes =
        document_read_mask_wishes(json_get(from, DOCUMENT_MASK_KIND), json_get(from, DOCUMENT_MASK_TURN));
    return read_seed(from, &ret->fill.seed, err);
}

static enum err_code read_settings(const struct json *from, struct picture_settings *ret, struct err *err)
{
    int64_t grow = 0, feather = 0;
    int geometry = 0, output = 0, second = 0;

    TRY(read_int(from, "maxPixels", 0, IMAGE_MAX_PIXELS, &ret->max_pixels, err));
    TRY(read_word(from, "geometry", geometry_names, &geometry, err));
    TRY(read_bool(from, "patchMatch", &ret->patch_match, err));
    TRY(read_int(from, "maskGrow", 0, IMAGE_MAX_SIDE, &grow, err));
    TRY(read_int(from, "maskFeather", 0, IMAGE_MAX_SIDE, &feather, err));
    TRY(read_number(from, "maskMaxShare", 1, &ret->mask_max_share, err));
    TRY(read_bool(from, "shadow", &ret->shadow, err));
    TRY(read_word(from, "outputJpeg", output_names, &output, err));
    TRY(read_bool(from, "fastHuffman", &ret->fast_huffman, err));
    TRY(read_word(from, "secondPass", second_pass_names, &second, err));
    TRY(read_bool(from, "decodeJail", &ret->decode_jail, err));
    TRY(read_bool(from, "heic", &ret->heic, err));
    ret->geometry = (enum picture_geometry_mode)geometry;
    ret->output = (enum picture_output)output;
    ret->second_pass = (enum picture_second_pass)second;
    ret->mask_grow_px = (int)grow;
    ret->mask_feather_px = (int)feather;
    return ERR_OK;
}

static enum err_code read_engine(const struct json *from, struct record *ret, struct err *err)
{
    TRY(read_text(from, "model", &ret->model, err));
    ret->loras = json_string(json_get(from, "loras"));
    TRY(read_text(from, "digests", &ret->digests, err));
    TRY(read_text(from, "backend", &ret->backend, err));
    TRY(read_text(from, "precision", &ret->precision, err));
    TRY(read_text(from, "kernels", &ret->kernels, err));
    if (!*ret->model || strchr(ret->model, '/'))
        return wrong("model", "the name of a file", err);
    return ERR_OK;
}

enum err_code record_from_json(const struct json *root, struct record *ret, struct err *err)
{
    const struct json *inputs = json_get(root, "inputs"), *outputs = json_get(root, "outputs");
    struct record r = { 0 };
    int64_t format = 0;

    if (!json_integer(json_get(root, "record"), &format))
        return err_set(err, ERR_INVALID, "not a record of `edit --record`");
    if (format != RECORD_FORMAT)
        return err_set(err, ERR_INVALID, "record: of the format %lld, and this version reads format %d",
                       (long long)format, RECORD_FORMAT);
    TRY(read_text(root, "version", &r.version, err));
    TRY(read_request(json_get(root, "request"), &r.request, err));
    TRY(read_settings(json_get(root, "settings"), &r.request.pictures, err));
    TRY(read_file(inputs, "original.jpg", &r.original, err));
    TRY(read_file(inputs, "mask_auto.png", &r.mask, err));
    if (r.request.paint.kind == EDIT_PAINT_FILE)
        TRY(read_file(inputs, "paint", &r.paint, err));
    if (r.request.paint.kind == EDIT_PAINT_MODEL)
        TRY(read_engine(json_get(root, "engine"), &r, err));
    TRY(read_file(outputs, "edited.jpg", &r.edited, err));
    TRY(read_file(outputs, "preview.jpg", &r.preview, err));
    *ret = r;
    return ERR_OK;
}

enum err_code record_read(const char *path, struct arena *a, struct record *ret, struct err *err)
{
    const struct json *root = NULL;
    struct span text = { 0 };

    TRY(file_read(path, RECORD_MAX_BYTES, a, &text, err));
    if (json_parse(a, text, DEPTH, &root, err) || record_from_json(root, ret, err))
        return err_prefix(err, "%s", path);
    return ERR_OK;
}
