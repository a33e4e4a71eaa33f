#include "models/text/t5_vocab.h"

enum { TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_UNUSED = 5, TYPE_BYTE = 6 };

struct arrays {
    struct span *tokens;
    float *scores;
    int32_t *types;
    int64_t n;
};

static enum err_code read_arrays(const struct gguf_meta *m, struct arena *a, struct arrays *ret, struct err *err)
{
    int64_t n_scores = 0, n_types = 0;
    enum err_code rc = gguf_strings(m, "tokenizer.ggml.tokens", a, &ret->tokens, &ret->n, err);

    if (!rc)
        rc = gguf_floats(m, "tokenizer.ggml.scores", a, &ret->scores, &n_scores, err);
    if (!rc)
        rc = gguf_ints(m, "tokenizer.ggml.token_type", a, &ret->types, &n_types, err);
    if (rc)
        return rc;
    if (ret->n != n_scores || ret->n != n_types)
        return err_set(err, ERR_CORRUPT, "gguf vocabulary: %lld tokens, %lld scores, %lld types", (long long)ret->n,
                       (long long)n_scores, (long long)n_types);
    if (ret->n < 1 || ret->n > T5_VOCAB_MAX_PIECES)
        return err_set(err, ERR_TOO_LARGE, "gguf vocabulary: %lld tokens", (long long)ret->n);
    return ERR_OK;
}

static bool is_added(int32_t type)
{
    return type == TYPE_UNKNOWN || type == TYPE_CONTROL || type == TYPE_USER_DEFINED;
}

/* Unused entries fill the table up to the rows of the embedding: with a score of -10000 they would move the
 * unknown's, and their names would be found in text. */
static enum err_code sort_out(struct t5_vocab *v, const struct arrays *in, struct err *err)
{
    for (int64_t i = 0; i < in->n; i++) {
        struct piece p = { in->tokens[i], (double)in->scores[i], (int32_t)i };

        if (in->types[i] == TYPE_BYTE)
            return err_set(err, ERR_UNSUPPORTED, "gguf vocabulary: byte pieces");
        if (in->types[i] != TYPE_UNUSED)
            v->pieces[v->n_pieces++] = p;
        if (!is_added(in->types[i]))
            continue;
        if (v->n_added == T5_VOCAB_MAX_ADDED)
            return err_set(err, ERR_TOO_LARGE, "gguf vocabulary: over %d special tokens", T5_VOCAB_MAX_ADDED);
        v->added[v->n_added++] = p;
    }
    return ERR_OK;
}

static enum err_code read_id(const struct gguf_meta *m, const char *key, int64_t n, int32_t *id, struct err *err)
{
    int64_t value = *id;

    (void)gguf_int(m, key, &value);
    if (value < 0 || value >= n)
        return err_set(err, ERR_CORRUPT, "gguf vocabulary: %s is %lld", key, (long long)value);
    *id = (int32_t)value;
    return ERR_OK;
}

enum err_code t5_vocab_from_gguf(const struct gguf_meta *m, struct arena *a, struct t5_vocab *ret, struct err *err)
{
    struct t5_vocab v = { .prepend = T5_PREPEND_FIRST, .unk_id = 2, .eos_id = 1, .pad_id = 0 };
    struct arrays in = { 0 };
    struct span model = { 0 };
    enum err_code rc;

    if (!gguf_string(m, "tokenizer.ggml.model", &model))
        return err_set(err, ERR_NOT_FOUND, "gguf vocabulary: there is none");
    if (!span_is(model, "t5"))
        return err_set(err, ERR_UNSUPPORTED, "gguf vocabulary: model '%.*s' is not t5", SPAN_ARG(model));
    rc = read_arrays(m, a, &in, err);
    if (!rc)
        rc = arena_alloc(a, (size_t)in.n, sizeof *v.pieces, &v.pieces, err);
    if (!rc)
        rc = arena_alloc(a, T5_VOCAB_MAX_ADDED, sizeof *v.added, &v.added, err);
    if (!rc)
        rc = sort_out(&v, &in, err);
    if (!rc && gguf_find(m, "tokenizer.ggml.precompiled_charsmap"))
        rc = gguf_bytes(m, "tokenizer.ggml.precompiled_charsmap", &v.charsmap, err);
    if (!rc)
        rc = read_id(m, "tokenizer.ggml.unknown_token_id", in.n, &v.unk_id, err);
    if (!rc)
        rc = read_id(m, "tokenizer.ggml.eos_token_id", in.n, &v.eos_id, err);
    if (!rc)
        rc = read_id(m, "tokenizer.ggml.padding_token_id", in.n, &v.pad_id, err);
    if (!rc)
        *ret = v;
    return rc;
}
