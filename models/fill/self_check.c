#include "models/fill/self_check.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/crc32c.h"
#include "kernels/base/file.h"
#include "models/fill/fill_model.h"

enum {
    SIDE = 64, /* pixels */
    T5_LEN = 64,
    KEPT_MAX = 5,
    CRC_SIZE = 9 /* as text */
};
static const char *const kept_names[KEPT_MAX] = { "prompt_embeds", "pooled_prompt_embeds", "masked_latents",
                                                  "latents_0", "image_f32" };
#define REFERENCE "cpu-F32" /* the backend and type whose results stand in where there are none of its own */
/* Address space, most of it for the tokenizers. */
static const size_t arena_bytes = (size_t)256 << 20;

/* The results of one picture. */
struct kept {
    struct arena *a;
    struct tensor_write t[KEPT_MAX];
    int n;
};

struct check {
    struct fill_model *m;
    struct arena a, of_request; /* results and file; memory of fill_run */
    struct fill_request r;
    struct image picture, mask;
    struct fill_timings took; /* of the picture that was painted last */
    char *path, *model;       /* of the file with stored results; its metadata */
    char *reference_path;     /* of that with results of the CPU in f32 */
};

/* --- painting --- */

/* Takes a result that is compared; others are ignored. */
static enum err_code keep(void *ctx, const char *name, int n_dims, const int64_t *dims, const float *data,
                          struct err *err)
{
    struct kept *k = ctx;
    struct tensor_write t = { .dtype = DT_F32, .n_dims = n_dims };
    void *copy = NULL;
    size_t n = 1;

    for (int i = 0; i < KEPT_MAX; i++)
        if (!strcmp(name, kept_names[i]))
            t.name = kept_names[i];
    if (!t.name || k->n == KEPT_MAX)
        return ERR_OK;
    for (int i = 0; i < n_dims; i++)
        n *= (size_t)(t.dims[i] = dims[i]);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(data[i]))
            return err_set(err, ERR_NUMERIC,
                           "%s hold NaN or infinity: the weights are damaged or the device computes wrongly", name);
    TRY(arena_alloc(k->a, n, sizeof *data, &copy, err));
    t.data = memcpy(copy, data, n * sizeof *data);
    k->t[k->n++] = t;
    return ERR_OK;
}

static enum err_code make_pictures(struct check *c, struct err *err)
{
    int width = c->r.width, height = c->r.height;

    TRY(image_new(&c->a, width, height, 3, &c->picture, err));
    TRY(image_new(&c->a, width, height, 1, &c->mask, err));
    for (size_t i = 0; i < image_bytes(&c->picture); i++)
        c->picture.pixels[i] = (uint8_t)(i * 7);
    for (int y = height / 4; y < height / 2; y++)
        memset(c->mask.pixels + (size_t)y * (size_t)width + (size_t)width / 4, 255, (size_t)width / 4);
    c->r.picture = &c->picture;
    c->r.mask = &c->mask;
    return ERR_OK;
}

static enum err_code paint(struct check *c, struct kept *ret, struct err *err)
{
    ARENA_SCRATCH(&c->of_request);
    struct fill_dump dump = { keep, ret };
    struct fill_request r = c->r;
    struct image painted;

    *ret = (struct kept){ .a = &c->a };
    r.dump = &dump;
    r.timings = &c->took;
    return fill_run(c->m, &r, &c->of_request, &painted, err);
}

/* --- the file of stored results --- */

/* A checksum of the prompt and, where the pack has it, of its embeddings: another T5 may have made them. */
static uint32_t prompt_crc(const struct check *c)
{
    const struct prompt_entry *e = prompt_pack_find(&c->m->pack, c->r.prompt);
    uint32_t crc = crc32c(0, c->r.prompt, strlen(c->r.prompt));

    if (!e)
        return crc;
    crc = crc32c(crc, e->prompt_embeds, (size_t)(e->t5_len * e->context) * sizeof(float));
    return crc32c(crc, e->pooled_embeds, (size_t)e->pooled * sizeof(float));
}

static enum err_code name_model(struct check *c, struct err *err)
{
    const struct fill_model *m = c->m;

    TRY(arena_printf(&c->a, &c->path, err, "%s%s.%s-%s.check", m->transformer, m->loras.digest, m->be->name,
                     dtype_info(m->be->act)->name));
    TRY(arena_printf(&c->a, &c->reference_path, err, "%s%s." REFERENCE ".check", m->transformer, m->loras.digest));
    return arena_printf(&c->a, &c->model, err, "%s %s %s %s headers-%08x prompt-%08x %dx%d", m->digests[0],
                        m->digests[1], m->digests[2], m->digests[3], (unsigned)m->headers, (unsigned)prompt_crc(c),
                        c->r.width, c->r.height);
}

static int whole_tokens(int side_px)
{
    return side_px - side_px % TOKEN_SIDE;
}

static enum err_code prepare(struct check *c, struct fill_model *m, struct err *err)
{
    int max_width = m->limits.max_width, max_height = m->limits.max_height, max_len = m->limits.max_t5_len;

    *c = (struct check){ .m = m, .r = { FILL_REQUEST_DEFAULTS } };
    c->r.width = whole_tokens(max_width < SIDE ? max_width : SIDE);
    c->r.height = whole_tokens(max_height < SIDE ? max_height : SIDE);
    c->r.t5_len = max_len < T5_LEN ? max_len : T5_LEN;
    c->r.steps = 1;
    c->r.prompt = fill_model_prompt(m, "grass");
    TRY(arena_init(&c->a, arena_bytes, err));
    TRY(arena_init(&c->of_request, arena_bytes, err));
    TRY(make_pictures(c, err));
    return name_model(c, err);
}

static void done(struct check *c)
{
    arena_done(&c->of_request);
    arena_done(&c->a);
}

/* --- the verdict --- */

/* ||got - want|| / ||want||; a NaN gives NaN. The data may have any alignment. */
static double distance(const void *got, const void *want, size_t n)
{
    double sum = 0, norm = 0;

    for (size_t i = 0; i < n; i++) {
        float g, w;

        memcpy(&g, (const char *)got + i * sizeof g, sizeof g);
        memcpy(&w, (const char *)want + i * sizeof w, sizeof w);
        sum += ((double)g - w) * ((double)g - w);
        norm += (double)w * w;
    }
    return sum == 0 ? 0 : sqrt(sum / norm);
}

static enum err_code judge(const struct check *c, const char *name, const struct tensor_write *got, const void *want,
                           struct self_check *ret, struct err *err)
{
    double limit = c->m->be->act == DT_BF16 ? SELF_CHECK_LIMIT_BF16 : SELF_CHECK_LIMIT_F32, off;
    size_t n = 1;

    for (int i = 0; i < got->n_dims; i++)
        n *= (size_t)got->dims[i];
    off = distance(got->data, want, n);
    if (!ret->what || !(off <= ret->worst)) {
        ret->worst = off;
        ret->what = name;
    }
    if (off <= limit)
        return ERR_OK;
    if (ret->stored)
        return err_set(
            err, ERR_NUMERIC,
            "%s differ by %.2g from those in %s, allowed is %.0e: the weights are damaged or the device "
            "computes wrongly; where the transformer was replaced by another of the same layout, delete that "
            "file and run `doctor --self-check`",
            name, off, c->path, limit);
    return err_set(err, ERR_NUMERIC,
                   "%s differ by %.2g when the same picture is painted again, allowed is %.0e: the device computes "
                   "wrongly",
                   name, off, limit);
}

static bool same_shape(const struct tensor_entry *e, const struct tensor_write *t)
{
    return e && e->dtype == t->dtype && e->n_dims == t->n_dims &&
           !memcmp(e->dims, t->dims, (size_t)t->n_dims * sizeof *t->dims);
}

static enum err_code refuse_file(const struct check *c, const char *why, struct err *err)
{
    return err_set(
        err, ERR_CORRUPT,
        "the stored results in %s %s: delete this file, and run `doctor --self-check` on model files that are "
        "known to be good",
        c->path, why);
}

static uint32_t crc_tensor(uint32_t crc, struct span name, enum dtype t, int n_dims, const int64_t *dims,
                           struct span data)
{
    crc = crc32c(crc, name.ptr, name.len);
    crc = crc32c(crc, &t, sizeof t);
    crc = crc32c(crc, dims, (size_t)n_dims * sizeof *dims);
    return crc32c(crc, data.ptr, data.len);
}

/* The checksum of a file's results, and of the name of the model that they belong to. */
static void crc_of_file(const struct tensor_file *f, const char *model, char ret[CRC_SIZE])
{
    uint32_t crc = crc32c(0, model, strlen(model));

    for (const struct tensor_entry *e = f->entries; e < f->entries + f->n_entries; e++)
        crc = crc_tensor(crc, e->name, e->dtype, e->n_dims, e->dims, (struct span){ e->data, e->bytes });
    (void)snprintf(ret, CRC_SIZE, "%08x", (unsigned)crc);
}

static void crc_of_kept(const struct kept *k, const char *model, char ret[CRC_SIZE])
{
    uint32_t crc = crc32c(0, model, strlen(model));

    for (int i = 0; i < k->n; i++) {
        const struct tensor_write *t = &k->t[i];
        struct span data = { t->data, sizeof(float) };

        for (int d = 0; d < t->n_dims; d++)
            data.len *= (size_t)t->dims[d];
        crc = crc_tensor(crc, span_of(t->name), t->dtype, t->n_dims, t->dims, data);
    }
    (void)snprintf(ret, CRC_SIZE, "%08x", (unsigned)crc);
}

/* A file that is there is whole, or an error: otherwise damage to it would switch the check off. */
static enum err_code read_stored(struct check *c, struct tensor_file *ret, const char **ret_model, struct err *err)
{
    struct err why = { 0 };
    const char *stored = NULL;
    char crc[CRC_SIZE];

    if (tensor_file_open(c->path, &c->a, ret, &why))
        return refuse_file(c, "cannot be read", err);
    if (tensor_file_metadata(ret, "model", &c->a, ret_model, NULL) ||
        tensor_file_metadata(ret, "crc32c", &c->a, &stored, NULL))
        return refuse_file(c, "are damaged, or of an earlier version", err);
    crc_of_file(ret, *ret_model, crc);
    return strcmp(crc, stored) == 0 ? ERR_OK : refuse_file(c, "are damaged", err);
}

static bool is_absent(const char *path)
{
    return !file_is_named(path) && errno == ENOENT;
}

/* *ret_there: there are stored results of this model. */
static enum err_code open_stored(struct check *c, struct tensor_file *f, bool *ret_there, struct self_check *ret,
                                 struct err *err)
{
    const char *model = NULL;

    *ret_there = false;
    if (is_absent(c->path))
        c->path = c->reference_path;
    if (is_absent(c->path))
        return ERR_OK;
    TRY(read_stored(c, f, &model, err));
    *ret_there = strcmp(model, c->model) == 0;
    if (!*ret_there)
        (void)snprintf(
            ret->note, sizeof ret->note,
            "the results stored in %s are not used, because they were made with other model files or another "
            "prompt pack: run `doctor --self-check` on files that are known to be good",
            file_short_name(c->path));
    return ERR_OK;
}

static enum err_code compare_stored(const struct check *c, const struct kept *got, const struct tensor_file *f,
                                    struct self_check *ret, struct err *err)
{
    ret->stored = true;
    for (int i = 0; i < got->n; i++) {
        const struct tensor_entry *e = tensor_file_find(f, span_of(got->t[i].name));

        if (!same_shape(e, &got->t[i]))
            return err_set(err, ERR_CORRUPT, "%s: there is no tensor '%s' of the right shape: delete this file",
                           c->path, got->t[i].name);
        TRY(judge(c, got->t[i].name, &got->t[i], e->data, ret, err));
    }
    return ERR_OK;
}

static enum err_code compare_again(struct check *c, const struct kept *got, struct self_check *ret, struct err *err)
{
    struct kept again;

    TRY(paint(c, &again, err));
    for (int i = 0; i < got->n; i++)
        TRY(judge(c, got->t[i].name, &again.t[i], got->t[i].data, ret, err));
    return ERR_OK;
}

static enum err_code paint_and_compare(struct check *c, struct fill_model *m, struct self_check *ret, struct err *err)
{
    struct tensor_file stored;
    struct kept got;
    bool there = false;

    TRY(prepare(c, m, err));
    TRY(open_stored(c, &stored, &there, ret, err)); /* first: a file that cannot be used costs no picture */
    TRY(paint(c, &got, err));
    return there ? compare_stored(c, &got, &stored, ret, err) : compare_again(c, &got, ret, err);
}

enum err_code self_check_run(struct fill_model *m, struct self_check *ret, struct err *err)
{
    struct self_check result = { 0 };
    struct check c;
    enum err_code rc = paint_and_compare(&c, m, &result, err);

    result.timed = (struct fill_timed){ c.r.width, c.r.height, c.r.t5_len, c.took };
    done(&c);
    if (rc)
        (void)err_prefix(err, "self-check");
    else if (ret)
        *ret = result;
    return rc;
}

static enum err_code paint_and_store(struct check *c, struct fill_model *m, struct err *err)
{
    char crc[CRC_SIZE];
    struct kept got;

    TRY(prepare(c, m, err));
    TRY(paint(c, &got, err));
    crc_of_kept(&got, c->model, crc);
    return safetensors_write(c->path, got.t, got.n,
                             (const struct metadata_pair[]){ { "model", c->model }, { "crc32c", crc } }, 2, err);
}

enum err_code self_check_record(struct fill_model *m, struct err *err)
{
    struct check c;
    enum err_code rc = paint_and_store(&c, m, err);

    done(&c);
    if (rc)
        (void)err_prefix(err, "self-check");
    return rc;
}
