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

    TRY(gguf_strings(m, "tokenizer.ggml.tokens", a, &ret->tokens, &ret->n, err));
    TRY(gguf_floats(m, "tokenizer.ggml.scores", a, &ret->scores, &n_scores, err));
    TRY(gguf_ints(m, "tokenizer.ggml.token_type", a, &ret->types, &n_types, err));
    if (ret->n != n_scores || ret->n != n_types)
        return err_set(err, ERR_CORRUPT, "GGUF vocabulary: %lld tokens, but %lld scores and %lld types",
                       (long long)ret->n, (long long)n_scores, (long long)n_types);
    if (ret->n < 1 || ret->n > T5_VOCAB_MAX_PIECES)
        return err_set(err, ERR_TOO_LARGE, "GGUF vocabulary: %lld tokens; 1 to %d are supported", (long long)ret->n,
                       T5_VOCAB_MAX_PIECES);
    return ERR_OK;
}

static bool is_added(int32_t type)
{
    return type == TYPE_UNKNOWN || type == TYPE_CONTROL || type == TYPE_USER_DEFINED;
}

/* Unused entries are left out. They only pad the table to the rows of the embedding: their score of -10000 would lower
 * that of the unknown piece, and their names would be found in text. */
static enum err_code sort_out(struct t5_vocab *v, const struct arrays *in, struct err *err)
{
    for (int64_t i = 0; i < in->n; i++) {
        struct piece p = { in->tokens[i], (double)in->scores[i], (int32_t)i };

        if (in->types[i] == TYPE_BYTE)
            return err_set(err, ERR_UNSUPPORTED, "GGUF vocabulary: byte pieces are not supported");
        if (in->types[i] != TYPE_UNUSED)
            v->pieces[v->n_pieces++] = p;
        if (!is_added(in->types[i]))
            continue;
        if (v->n_added == T5_VOCAB_MAX_ADDED)
            return err_set(err, ERR_TOO_LARGE, "GGUF vocabulary: more than %d special tokens", T5_VOCAB_MAX_ADDED);
        v->added[v->n_added++] = p;
    }
    return ERR_OK;
}

/* *id stays as it is when the key is absent. */
static enum err_code read_id(const struct gguf_meta *m, const char *key, int64_t n, int32_t *id, struct err *err)
{
    int64_t value = *id;

    (void)gguf_int(m, key, &value);
    if (value < 0 || value >= n)
        return err_set(err, ERR_CORRUPT, "GGUF vocabulary: %s is %lld, but there are %lld tokens", key,
                       (long long)value, (long long)n);
    *id = (int32_t)value;
    return ERR_OK;
}

/* Converters may leave it out. Without it a fraction or a full-width letter would become other tokens than the model
 * was trained with, and nobody would notice. */
static enum err_code read_charsmap(const struct gguf_meta *m, struct span *ret, struct err *err)
{
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";

    if (!gguf_find(m, key))
        return err_set(err, ERR_UNSUPPORTED,
                       "GGUF vocabulary: %s is missing, so that text would become other tokens than the model knows; "
                       "put tokenizer_2/ of the official repository into the model folder",
                       key);
    TRY(gguf_bytes(m, key, ret, err));
    return ret->len ? ERR_OK : err_set(err, ERR_CORRUPT, "GGUF vocabulary: %s is empty", key);
}

enum err_code t5_vocab_from_gguf(const struct gguf_meta *m, struct arena *a, struct t5_vocab *ret, struct err *err)
{
    struct t5_vocab v = { .prepend = T5_PREPEND_FIRST, .unk_id = 2, .eos_id = 1, .pad_id = 0 };
    struct arrays in = { 0 };
    struct span model = { 0 };

    if (!gguf_string(m, "tokenizer.ggml.model", &model))
        return err_set(err, ERR_NOT_FOUND, "the GGUF file has no vocabulary (tokenizer.ggml.model)");
    if (!span_is(model, "t5"))
        return err_set(err, ERR_UNSUPPORTED, "GGUF vocabulary: it is for the model '%.*s', not for t5",
                       SPAN_ARG(model));
    TRY(read_arrays(m, a, &in, err));
    TRY(arena_alloc(a, (size_t)in.n, sizeof *v.pieces, &v.pieces, err));
    TRY(arena_alloc(a, T5_VOCAB_MAX_ADDED, sizeof *v.added, &v.added, err));
    TRY(sort_out(&v, &in, err));
    TRY(read_charsmap(m, &v.charsmap, err));
    TRY(read_id(m, "tokenizer.ggml.unknown_token_id", in.n, &v.unk_id, err));
    TRY(read_id(m, "tokenizer.ggml.eos_token_id", in.n, &v.eos_id, err));
    TRY(read_id(m, "tokenizer.ggml.padding_token_id", in.n, &v.pad_id, err));
    *ret = v;
    return ERR_OK;
}
