#include "models/fill/model_folder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/base/file.h"

enum { MAX_TIERS = 4, MAX_FIXED = 4, MAX_LISTED = 8 };

/* Files that are preferred to those of the tiers that follow. NULL: any. */
struct tier {
    const char *start, *end; /* of the name: "text_encoder_2/model", or of the file alone: "t5xxl"; its ending */
    bool merged_too, safetensors;
};

static const struct {
    const char *name, *looked_for;
    enum file_kind kind;
    const char *fixed[MAX_FIXED]; /* names that come first, whatever they hold, unless it is known to be another part */
    struct tier tiers[MAX_TIERS];
    int n_tiers;
    const char *telling; /* what the name of a file says that can only be this */
} parts[MODEL_PART_COUNT] = {
    [MODEL_TRANSFORMER] = { .name = "transformer",
                            .looked_for = "FLUX.1-Fill as *.gguf, *.safetensors or *.safetensors.index.json",
                            .kind = FILE_FLUX_FILL,
                            .tiers = { { .end = ".gguf", .merged_too = true },
                                       { .safetensors = true, .merged_too = true } },
                            .n_tiers = 2,
                            .telling = "fill" },
    [MODEL_VAE] = { .name = "VAE",
                    .looked_for = "ae.safetensors, vae/diffusion_pytorch_model.safetensors",
                    .kind = FILE_VAE_FLUX,
                    .fixed = { "ae.safetensors", "vae/diffusion_pytorch_model.safetensors", "vae/ae.safetensors" },
                    .tiers = { { .end = NULL }, { .merged_too = true } },
                    .n_tiers = 2,
                    .telling = "vae" },
    [MODEL_CLIP] = { .name = "CLIP-L",
                     .looked_for = "text_encoder/model.safetensors, clip_l.safetensors",
                     .kind = FILE_CLIP_L,
                     .fixed = { "text_encoder/model.safetensors", "clip_l.safetensors", "clip/clip_l.safetensors",
                                "text_encoders/clip_l.safetensors" },
                     .tiers = { { .end = NULL }, { .merged_too = true } },
                     .n_tiers = 2,
                     .telling = "clip_l" },
    [MODEL_T5] = { .name = "T5",
                   .looked_for = "text_encoder_2/model*.safetensors, t5xxl*.safetensors, a T5 encoder *.gguf",
                   .kind = FILE_T5,
                   .fixed = { "text_encoder_2/model.safetensors", "text_encoder_2/model.safetensors.index.json" },
                   .tiers = { { .start = "text_encoder_2/model", .end = ".safetensors" },
                              { .start = "t5xxl", .end = ".safetensors" },
                              { .end = ".gguf" },
                              { .merged_too = true } },
                   .n_tiers = 4,
                   .telling = "t5" },
    [MODEL_CLIP_TOKENIZER] = { .name = "CLIP tokenizer",
                               .looked_for = "tokenizer/vocab.json with tokenizer/merges.txt" },
    [MODEL_T5_TOKENIZER] = { .name = "T5 tokenizer",
                             .looked_for = "tokenizer_2/tokenizer.json, tokenizer_2/spiece.model, a T5 *.gguf with a "
                                           "vocabulary",
                             .kind = FILE_T5,
                             .tiers = { { .end = ".gguf" } },
                             .n_tiers = 1,
                             .telling = "t5" },
    [MODEL_PROMPTS] = { .name = "prompt pack",
                        .looked_for = "prompts.safetensors",
                        .kind = FILE_PROMPT_PACK,
                        .fixed = { "prompts.safetensors" } },
};

/* A search for one part, and the best file so far. */
struct search {
    const struct model_folder *folder;
    enum model_part part;
    struct arena *a;
    int64_t max_bytes; /* 0: any */
    struct model_list list;
    const struct model_file *best;
    const struct model_file *unread;    /* the largest that may be the part and cannot be read */
    const struct model_file *too_large; /* the largest that is over max_bytes */
};

const char *model_part_name(enum model_part part)
{
    return (unsigned)part < MODEL_PART_COUNT ? parts[part].name : "?";
}

bool model_transformer_is_named(const char *transformer)
{
    return transformer && *transformer && strcmp(transformer, "auto") != 0;
}

bool model_part_is_needed(enum model_part part, bool has_prompts)
{
    return part != MODEL_PROMPTS && (!has_prompts || part == MODEL_TRANSFORMER || part == MODEL_VAE);
}

/* --- what a file's name says, where its content cannot be read --- */

static enum file_kind hint_of(const char *name)
{
    static const struct {
        const char *word;
        enum file_kind kind;
    } words[] = {
        { "lora", FILE_LORA },
        { "text_encoder_2", FILE_T5 },
        { "t5", FILE_T5 },
        { "text_encoder/", FILE_CLIP_L },
        { "clip", FILE_CLIP_L },
        { "text_encoder", FILE_T5 },
        { "vae", FILE_VAE_FLUX },
        { "prompts", FILE_PROMPT_PACK },
        { "flux", FILE_FLUX_FILL },
        { "fill", FILE_FLUX_FILL },
        { "unet", FILE_FLUX_FILL },
        { "diffusion", FILE_FLUX_FILL },
        { "transformer", FILE_FLUX_FILL },
    };

    if (span_starts(span_of(file_short_name(name)), "ae."))
        return FILE_VAE_FLUX;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasestr(name, words[i].word))
            return words[i].kind;
    return FILE_UNKNOWN;
}

/* --- judging files --- */

/* Whether it is the part by its directory, whole or not. */
static bool is_part(const struct search *s, const struct model_file *f)
{
    if (s->part == MODEL_T5_TOKENIZER)
        return file_seen_is(&f->seen, FILE_T5) && f->seen.has_vocabulary && f->seen.has_charsmap;
    if (s->part == MODEL_TRANSFORMER && s->folder->relatives_too && file_kind_is_relative_of_fill(f->seen.kind))
        return true;
    return file_seen_is(&f->seen, parts[s->part].kind);
}

/* Whether nobody knows what it is. An index some of whose files are missing says too little. */
static bool is_mystery(const struct model_file *f)
{
    return (f->seen.kind == FILE_UNREADABLE && f->rc) ||
           (f->seen.kind == FILE_UNKNOWN && f->seen.unfinished && f->bytes == INT64_MAX);
}

/* Whether it may be the part, for all that is known, but cannot be used. */
static bool may_be_part(const struct search *s, const struct model_file *f)
{
    enum file_kind hint = hint_of(f->name), kind = parts[s->part].kind;

    if (is_part(s, f))
        return f->seen.unfinished;
    if (!is_mystery(f))
        return false;
    if (f->leads_nowhere)
        return strcasestr(f->name, parts[s->part].telling) != NULL;
    if (hint != FILE_UNKNOWN)
        return hint == kind;
    return kind == FILE_FLUX_FILL || (kind == FILE_T5 && span_ends_in_any_case(span_of(f->name), ".gguf"));
}

/* What files are compared by: two layouts of the same network are of the same size. */
static int64_t weight_of(const struct search *s, const struct model_file *f)
{
    return is_part(s, f) && f->bytes < INT64_MAX ? f->seen.weight_bytes : f->bytes;
}

static bool is_too_large(const struct search *s, const struct model_file *f)
{
    return s->max_bytes && f->bytes > s->max_bytes && f->bytes < INT64_MAX;
}

static bool is_of_tier(const struct model_file *f, const struct tier *t)
{
    struct span name = span_of(f->name), file = span_of(file_short_name(f->name));

    if (t->start && !span_starts(strchr(t->start, '/') ? name : file, t->start))
        return false;
    if (f->seen.kind == FILE_MERGED && !t->merged_too)
        return false;
    return (!t->end || span_ends_in_any_case(name, t->end)) &&
           (!t->safetensors || !span_ends_in_any_case(name, ".gguf"));
}

/* A relative of Fill is never better than Fill itself. */
static bool is_better(const struct search *s, const struct model_file *f, const struct model_file *than)
{
    if (file_kind_is_relative_of_fill(f->seen.kind) != file_kind_is_relative_of_fill(than->seen.kind))
        return file_kind_is_relative_of_fill(than->seen.kind);
    return weight_of(s, f) > weight_of(s, than);
}

static void keep_better(const struct search *s, const struct model_file **kept, const struct model_file *f)
{
    if (!*kept || is_better(s, f, *kept))
        *kept = f;
}

static void search_tier(struct search *s, const struct tier *t)
{
    for (int i = 0; i < s->list.n; i++) {
        const struct model_file *f = &s->list.files[i];

        if (!is_of_tier(f, t))
            continue;
        if (is_part(s, f) && is_too_large(s, f))
            keep_better(s, &s->too_large, f);
        else if (is_part(s, f) && !f->seen.unfinished)
            keep_better(s, &s->best, f);
        else if (may_be_part(s, f) && !is_too_large(s, f))
            keep_better(s, &s->unread, f);
    }
}

/* --- refusals --- */

enum rank { RANK_PART, RANK_FAMILY, RANK_OTHER, RANK_OTHER_PART, RANK_IRRELEVANT };

/* How much a file has to do with a part that is missing. The other parts of the model have nothing to do with it. */
static enum rank rank_of(const struct search *s, const struct model_file *f)
{
    enum file_kind kind = parts[s->part].kind, network = f->seen.network;

    if (kind == FILE_UNKNOWN || (network >= FILE_FLUX_FILL && network <= FILE_SELF_CHECK && network != kind &&
                                 network != FILE_T5_FULL && network != FILE_MERGED))
        return s->part == MODEL_TRANSFORMER ? RANK_OTHER_PART : RANK_IRRELEVANT;
    if (may_be_part(s, f))
        return RANK_PART;
    if (s->part == MODEL_T5_TOKENIZER && !f->seen.has_vocabulary)
        return RANK_IRRELEVANT;
    if (network == kind || (kind == FILE_T5 && network == FILE_T5_FULL))
        return RANK_PART;
    if (file_kind_is_like(network, kind) || (!network && hint_of(f->name) == kind))
        return RANK_FAMILY;
    return s->part == MODEL_TRANSFORMER ? RANK_OTHER : RANK_IRRELEVANT;
}

/* Why a file is not taken, after its name. */
static const char *why_not(const struct search *s, const struct model_file *f, bool whole,
                           char ret[MODEL_FILE_TEXT_SIZE])
{
    if (s->part == MODEL_T5_TOKENIZER && f->seen.has_vocabulary && !f->seen.has_charsmap) {
        (void)snprintf(ret, MODEL_FILE_TEXT_SIZE, "has a vocabulary without precompiled_charsmap%s",
                       whole ? "; put tokenizer_2/ of the official repository into the folder" : "");
        return ret;
    }
    if (is_part(s, f) && is_too_large(s, f)) {
        (void)snprintf(ret, MODEL_FILE_TEXT_SIZE, "has %.2f GB, over the %.2f GB that fit", (double)f->bytes / 1e9,
                       (double)s->max_bytes / 1e9);
        return ret;
    }
    return model_file_text(f, whole, ret);
}

/* How much is said of the files: the reason of each, of the first, or of none. */
enum detail { WHOLE, FIRST_WHOLE, SHORT };

struct refusal {
    enum detail detail;
    bool cuts; /* the end of a text that does not fit, rather than all of it */
    char text[ERR_MESSAGE_MAX];
    size_t len, room;
    int n, n_left; /* files that are named, and that are not */
};

static void refuse(const struct search *s, const struct model_file *f, struct refusal *r)
{
    char why[MODEL_FILE_TEXT_SIZE], line[MODEL_FILE_TEXT_SIZE + 300];
    bool whole = r->detail == WHOLE || (r->detail == FIRST_WHOLE && !r->n);
    int n = snprintf(line, sizeof line, "%s%.200s %s", r->n ? "; " : "", f->name, why_not(s, f, whole, why));

    if (r->cuts && n > (int)r->room)
        n = (int)r->room;
    if (r->n_left || r->n == MAX_LISTED || n < 0 || r->len + (size_t)n > r->room) {
        r->n_left++;
        return;
    }
    memcpy(r->text + r->len, line, (size_t)n);
    r->len += (size_t)n;
    r->text[r->len] = 0;
    r->n++;
}

/* The file that stops the search comes first, then those that are most like the part. Where there is none of these, the
 * other parts of a model are named, so that people see which folder it is. */
static void refuse_all(const struct search *s, struct refusal *r)
{
    if (s->unread)
        refuse(s, s->unread, r);
    for (int rank = RANK_PART; rank < RANK_IRRELEVANT && !(rank == RANK_OTHER_PART && r->n); rank++)
        for (int i = 0; i < s->list.n; i++)
            if (&s->list.files[i] != s->unread && (int)rank_of(s, &s->list.files[i]) == rank)
                refuse(s, &s->list.files[i], r);
    if (r->n && r->n_left)
        r->len += (size_t)snprintf(r->text + r->len, sizeof r->text - r->len,
                                   "; and %d more, see `inpaint-worker doctor`", r->n_left);
}

/* As much as fits into `room`. */
static struct refusal explain(const struct search *s, size_t room)
{
    const enum detail last = s->unread ? FIRST_WHOLE : SHORT;
    struct refusal r = { 0 };

    for (enum detail detail = WHOLE; detail <= last; detail++) {
        r = (struct refusal){ .detail = detail, .room = room };
        refuse_all(s, &r);
        if (!r.n_left)
            return r;
    }
    if (r.n && (s->unread || r.n + r.n_left > 1))
        return r;
    r = (struct refusal){ .detail = FIRST_WHOLE, .room = sizeof r.text - 60, .cuts = true };
    refuse_all(s, &r);
    return r;
}

static enum err_code no_part(const struct search *s, struct err *err)
{
    enum { AND_MORE = 48, AROUND = 26 };
    const char *name = parts[s->part].name, *looked_for = parts[s->part].looked_for, *dir = s->folder->dir;
    size_t taken = strlen(dir) + strlen(name) + AROUND,
           room = taken + AND_MORE < ERR_MESSAGE_MAX ? ERR_MESSAGE_MAX - taken - AND_MORE : 0;
    enum err_code rc = s->unread && s->unread->rc ? s->unread->rc
                       : s->unread                ? ERR_CORRUPT
                       : s->too_large             ? ERR_TOO_LARGE
                                                  : ERR_NOT_FOUND;
    struct refusal r = explain(s, room);

    if (!r.n)
        return err_set(err, rc, "%s: no %s: put one there, or give the folder that has one (looked for %s)", dir, name,
                       looked_for);
    if (r.len + strlen(looked_for) + sizeof "; put one there (looked for )" + taken < ERR_MESSAGE_MAX)
        return err_set(err, rc, "%s: no %s that can be used: %s; put one there (looked for %s)", dir, name, r.text,
                       looked_for);
    return err_set(err, rc, "%s: no %s that can be used: %s", dir, name, r.text);
}

/*
 * A file that cannot be read might be the part, and a larger file would be taken instead of the best one. To go on with
 * the best one would change what the model computes, without a word, because of a disk that failed once.
 */
static enum err_code might_be_better(const struct search *s, struct err *err)
{
    const struct model_file *f = s->unread;
    char name[FILE_TEXT_SIZE];

    if (is_part(s, f))
        return err_set(err, ERR_CORRUPT,
                       "%s is %s; it is larger than %s: fetch the rest, take it out of the folder, or name the one to "
                       "take",
                       f->name, file_seen_name(&f->seen, name), file_short_name(s->best->name));
    return err_set(err, f->rc ? f->rc : ERR_CORRUPT,
                   "%s: it may be the %s, and larger than %s: fetch it again, take it out of the folder, or name the "
                   "one to take (%s)",
                   f->name, parts[s->part].name, file_short_name(s->best->name), f->problem);
}

/* --- finding --- */

/* What is taken must open: it is the part, so another would not do. */
static enum err_code check_best(const struct search *s, struct err *err)
{
    ARENA_SCRATCH(s->a);
    struct shards opened;

    return shards_open(s->best->path, s->a, &opened, err);
}

/* The result of a search, or the reason why there is none. */
static enum err_code conclude(const struct search *s, enum model_kind kind, struct model_found *ret, struct err *err)
{
    if (!s->best)
        return no_part(s, err);
    if (s->unread && weight_of(s, s->unread) > weight_of(s, s->best))
        return might_be_better(s, err);
    TRY(check_best(s, err));
    *ret = (struct model_found){ .kind = kind,
                                 .path = s->best->path,
                                 .too_large = s->too_large ? s->too_large->name : NULL };
    return ERR_OK;
}

static enum err_code find_by_content(struct search *s, enum model_kind kind, struct model_found *ret, struct err *err)
{
    if (parts[s->part].n_tiers)
        TRY(model_list_scan(s->folder->dir, false, s->a, &s->list, err));
    for (int i = 0; i < parts[s->part].n_tiers && !s->best; i++)
        search_tier(s, &parts[s->part].tiers[i]);
    return conclude(s, kind, ret, err);
}

/* Whether there is such a file. A link whose target is missing is there: opening it says what is wrong with it. */
static enum err_code exists(const char *path, bool *ret, struct err *err)
{
    *ret = file_is_named(path);
    if (*ret || errno == ENOENT || errno == ENOTDIR)
        return ERR_OK;
    return err_set(err, ERR_IO, "%s: %m", path);
}

static enum err_code path_in(const char *dir, struct arena *a, const char *name, const char **ret, struct err *err)
{
    char *path = NULL;

    TRY(arena_printf(a, &path, err, "%s/%s", dir, name));
    *ret = path;
    return ERR_OK;
}

/* The path of the first name that exists; *ret NULL when none exists. */
static enum err_code first_of(const struct model_folder *f, struct arena *a, const char *const *names, const char **ret,
                              struct err *err)
{
    *ret = NULL;
    for (; *names && !*ret; names++) {
        const char *path = NULL;
        bool there = false;

        TRY(path_in(f->dir, a, *names, &path, err));
        TRY(exists(path, &there, err));
        if (there)
            *ret = path;
    }
    return ERR_OK;
}

/* Whether a file under a name that is the part's own is taken. What is known to be another part's is not; what cannot
 * be read or recognised is, because opening it says best what is wrong. */
static bool is_taken_by_name(const struct search *s, const struct model_file *f)
{
    if (s->part == MODEL_PROMPTS || is_part(s, f))
        return true;
    return f->seen.network == FILE_UNKNOWN &&
           (f->seen.kind == FILE_UNKNOWN || f->seen.kind == FILE_UNREADABLE || f->seen.kind == FILE_FOREIGN);
}

/* *ret_path NULL: none of the part's own names is there. */
static enum err_code find_by_name(struct search *s, const char **ret_path, struct err *err)
{
    const char *const *fixed = parts[s->part].fixed;

    *ret_path = NULL;
    for (int i = 0; i < MAX_FIXED && fixed[i] && !*ret_path; i++) {
        struct model_file *f = NULL;
        const char *path = NULL;
        bool there = false;

        TRY(path_in(s->folder->dir, s->a, fixed[i], &path, err));
        TRY(exists(path, &there, err));
        if (!there)
            continue;
        TRY(arena_alloc(s->a, 1, sizeof *f, &f, err));
        TRY(model_list_see(fixed[i], path, s->a, f, err));
        if (is_part(s, f) && f->seen.unfinished) {
            s->list = (struct model_list){ f, 1 };
            s->unread = f;
            return no_part(s, err);
        }
        if (is_taken_by_name(s, f))
            *ret_path = path;
    }
    return ERR_OK;
}

static enum err_code find_file(struct search *s, struct model_found *ret, struct err *err)
{
    const char *path = NULL;

    TRY(find_by_name(s, &path, err));
    if (!path)
        return find_by_content(s, MODEL_WEIGHTS, ret, err);
    *ret = (struct model_found){ .kind = MODEL_WEIGHTS, .path = path };
    return ERR_OK;
}

/* --- a transformer that is named --- */

/* *ret NULL: there is no file of this path, with or without an ending. */
static enum err_code find_with_ending(const struct search *s, const char *stem, const char **ret, struct err *err)
{
    static const char *const endings[] = { "", ".gguf", ".safetensors", ".sft", ".safetensors.index.json" };

    *ret = NULL;
    for (size_t i = 0; i < sizeof endings / sizeof *endings && !*ret; i++) {
        char *path = NULL;
        bool there = false;

        TRY(arena_printf(s->a, &path, err, "%s%s", stem, endings[i]));
        TRY(exists(path, &there, err));
        if (there)
            *ret = path;
    }
    return ERR_OK;
}

/* In the folder, then in its sub-folders, then where the process works. */
static enum err_code resolve_name(const struct search *s, const char **ret, struct err *err)
{
    const char *name = s->folder->transformer, *sub = NULL;

    *ret = NULL;
    for (int i = 0; name[0] != '/' && !*ret && (sub = model_list_folder(i)); i++) {
        char *stem = NULL;

        TRY(arena_printf(s->a, &stem, err, "%s/%s%s%s", s->folder->dir, sub, *sub ? "/" : "", name));
        TRY(find_with_ending(s, stem, ret, err));
    }
    if (!*ret && strchr(name, '/'))
        TRY(find_with_ending(s, name, ret, err));
    if (!*ret)
        return err_set(err, ERR_NOT_FOUND, "%s: there is no transformer '%s'", s->folder->dir, name);
    return ERR_OK;
}

/* A transformer chosen by name is not held to the limit of bytes. */
static enum err_code check_named(struct search *s, const struct model_file *f, struct err *err)
{
    char text[MODEL_FILE_TEXT_SIZE];
    bool is_encoded = file_kind_is_encoding(f->seen.kind);
    const char *not_one =
        f->seen.kind >= FILE_VAE_FLUX && f->seen.kind <= FILE_MERGED ? ", which is not FLUX.1-Fill" : "";
    enum err_code rc;

    if (is_part(s, f) && !f->seen.unfinished) {
        s->best = f;
        rc = check_best(s, err);
        if (rc)
            (void)err_prefix(err, "%s", s->folder->transformer);
        return rc;
    }
    rc = f->rc                                                       ? f->rc
         : f->seen.unfinished                                        ? ERR_CORRUPT
         : f->seen.kind == FILE_SPLIT_PART                           ? ERR_INVALID
         : file_kind_is_relative_of_fill(f->seen.kind) || is_encoded ? ERR_UNSUPPORTED
                                                                     : ERR_NOT_FOUND;
    return err_set(err, rc, "the transformer %s %s%s", s->folder->transformer, model_file_text(f, true, text), not_one);
}

static enum err_code find_named(struct search *s, struct model_found *ret, struct err *err)
{
    struct model_folder inside = *s->folder;
    struct model_file *f = NULL;
    const char *path = NULL;

    TRY(resolve_name(s, &path, err));
    if (file_is_folder(path)) {
        inside.dir = path;
        inside.max_transformer_bytes = 0;
        inside.transformer = NULL;
        return model_folder_find(&inside, MODEL_TRANSFORMER, s->a, ret, err);
    }
    TRY(arena_alloc(s->a, 1, sizeof *f, &f, err));
    TRY(model_list_see(s->folder->transformer, path, s->a, f, err));
    TRY(check_named(s, f, err));
    *ret = (struct model_found){ .kind = MODEL_WEIGHTS, .path = path };
    return ERR_OK;
}

/* --- parts --- */

static enum err_code find_transformer(struct search *s, struct model_found *ret, struct err *err)
{
    if (model_transformer_is_named(s->folder->transformer))
        return find_named(s, ret, err);
    s->max_bytes = s->folder->max_transformer_bytes;
    return find_by_content(s, MODEL_WEIGHTS, ret, err);
}

static enum err_code find_t5_tokenizer(struct search *s, struct model_found *ret, struct err *err)
{
    static const struct {
        const char *names[2];
        enum model_kind kind;
    } files[] = {
        { { "tokenizer_2/tokenizer.json", NULL }, MODEL_TOKENIZER_JSON },
        { { "tokenizer_2/spiece.model", NULL }, MODEL_SPIECE },
    };

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const char *path = NULL;

        TRY(first_of(s->folder, s->a, files[i].names, &path, err));
        if (path) {
            *ret = (struct model_found){ .kind = files[i].kind, .path = path };
            return ERR_OK;
        }
    }
    return find_by_content(s, MODEL_GGUF_VOCABULARY, ret, err);
}

static enum err_code find_clip_tokenizer(struct search *s, struct model_found *ret, struct err *err)
{
    static const char *const vocab[] = { "tokenizer/vocab.json", NULL };
    static const char *const merges[] = { "tokenizer/merges.txt", NULL };
    struct model_found found = { .kind = MODEL_VOCAB_MERGES };

    TRY(first_of(s->folder, s->a, vocab, &found.path, err));
    TRY(first_of(s->folder, s->a, merges, &found.path_2, err));
    if (!found.path || !found.path_2)
        return no_part(s, err);
    *ret = found;
    return ERR_OK;
}

enum err_code model_folder_find(const struct model_folder *f, enum model_part part, struct arena *a,
                                struct model_found *ret, struct err *err)
{
    struct search s = { .folder = f, .part = part, .a = a };
    struct stat st;

    if (file_stat(f->dir, &st) && !S_ISDIR(st.st_mode))
        return err_set(err, ERR_NOT_FOUND,
                       "the model folder %s is a file: give the folder that it is in, and name it as the transformer",
                       f->dir);
    if (!file_folder_is_readable(f->dir))
        return err_set(err, ERR_NOT_FOUND, "the model folder %s cannot be read: %m", f->dir);
    switch (part) {
    case MODEL_TRANSFORMER:
        return find_transformer(&s, ret, err);
    case MODEL_T5_TOKENIZER:
        return find_t5_tokenizer(&s, ret, err);
    case MODEL_CLIP_TOKENIZER:
        return find_clip_tokenizer(&s, ret, err);
    case MODEL_VAE:
    case MODEL_CLIP:
    case MODEL_T5:
    case MODEL_PROMPTS:
        return find_file(&s, ret, err);
    case MODEL_PART_COUNT:
        break;
    }
    return err_set(err, ERR_INVALID, "model folder: no such part");
}

enum err_code model_folder_list(const struct model_folder *f, struct arena *a, struct model_list *ret, struct err *err)
{
    return model_list_scan(f->dir, true, a, ret, err);
}

enum err_code model_folder_open(const struct model_folder *f, enum model_part part, struct arena *a, struct shards *ret,
                                struct err *err)
{
    struct model_found found = { 0 };

    TRY(model_folder_find(f, part, a, &found, err));
    if (found.kind != MODEL_WEIGHTS)
        return err_set(err, ERR_INVALID, "%s is not made of tensors", model_part_name(part));
    return shards_open(found.path, a, ret, err);
}
