#include "models/text/clip_tokenizer.h"

#include "kernels/base/file.h"
#include "models/text/unicode.h"

enum { BRACKET_BYTES = 2 }; /* <| and |> of a special token */

/* The ids of a text. The last of CLIP_MAX_IDS places is left for the end id. */
struct id_list {
    int32_t *ids;
    int n;
};

enum form { RAW, NORMALISED }; /* of a text: before or after step 2 */

static bool is_full(const struct id_list *out)
{
    return out->n == CLIP_MAX_IDS - 1;
}

static enum err_code read_file(const char *folder, const char *name, struct span *ret, struct arena *a, struct err *err)
{
    char *path = NULL;

    TRY(arena_printf(a, &path, err, "%s/%s", folder, name));
    return file_read(path, CLIP_VOCAB_MAX_FILE_BYTES, a, ret, err);
}

/* *ret stays as it is when there is no such file. */
static enum err_code read_file_if_any(const char *folder, const char *name, struct span *ret, struct arena *a,
                                      struct err *err)
{
    struct err why = { 0 };
    enum err_code rc = read_file(folder, name, ret, a, &why);

    return rc && rc != ERR_NOT_FOUND ? err_set(err, rc, "%s", why.msg) : ERR_OK;
}

enum err_code clip_tokenizer_open(struct clip_tokenizer *t, const char *folder, struct arena *a, struct arena *scratch,
                                  struct err *err)
{
    ARENA_SCRATCH(scratch);
    struct clip_files files = { 0 };
    enum err_code rc;

    TRY(read_file(folder, "merges.txt", &files.merges, scratch, err));
    TRY(read_file_if_any(folder, "vocab.json", &files.vocab, scratch, err));
    TRY(read_file_if_any(folder, "tokenizer_config.json", &files.config, scratch, err));
    TRY(read_file_if_any(folder, "special_tokens_map.json", &files.special_map, scratch, err));
    rc = clip_vocab_read(&t->vocab, &files, a, scratch, err);
    if (rc)
        (void)err_prefix(err, "%s", folder);
    return rc;
}

/* Step 4. */
static enum err_code encode_word(const struct clip_tokenizer *t, struct span word, struct id_list *out,
                                 struct arena *scratch, struct err *err)
{
    ARENA_SCRATCH(scratch);
    int32_t *ids = NULL;
    size_t n = word.len;

    if (!n)
        return ERR_OK;
    TRY(arena_alloc(scratch, n, sizeof *ids, &ids, err));
    for (size_t i = 0; i < n; i++)
        ids[i] = t->vocab.byte_id[(unsigned char)word.ptr[i]];
    ids[n - 1] = t->vocab.last_byte_id[(unsigned char)word.ptr[n - 1]];
    TRY(bpe_encode(&t->vocab.bpe, ids, &n, scratch, err));
    for (size_t i = 0; i < n && !is_full(out); i++)
        out->ids[out->n++] = ids[i];
    return ERR_OK;
}

enum char_class { CLASS_BLANK, CLASS_LETTER, CLASS_NUMBER, CLASS_OTHER };

static enum char_class class_of(int32_t cp)
{
    if (unicode_is_letter(cp))
        return CLASS_LETTER;
    if (unicode_is_number(cp))
        return CLASS_NUMBER;
    return unicode_is_white_space(cp) ? CLASS_BLANK : CLASS_OTHER;
}

/* Bytes of the run of one class with which text begins. A number or a blank is a run of its own. */
static size_t run_length(struct span text, enum char_class *ret_class)
{
    struct span rest = text;
    enum char_class class = class_of(unicode_next(&rest));

    *ret_class = class;
    while (rest.len && (class == CLASS_LETTER || class == CLASS_OTHER)) {
        struct span after = rest;

        if (class_of(unicode_next(&after)) != class)
            break;
        rest = after;
    }
    return text.len - rest.len;
}

/* Bytes of the special token with which text begins; 0: none. Step 1 cannot cut out all of them: <|ENDOFTEXT|> becomes
 * one only in lower case. */
static size_t special_length(struct span text)
{
    for (int i = 0; i < CLIP_SPECIALS; i++)
        if (span_starts(text, clip_special_text[i]))
            return strlen(clip_special_text[i]);
    return 0;
}

/* Step 3: bytes of the word with which text begins. */
static size_t word_length(struct span text, enum char_class *ret_class)
{
    static const char *const endings[] = { "'s", "'t", "'re", "'ve", "'m", "'ll", "'d" };

    *ret_class = CLASS_OTHER;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (span_starts(text, endings[i]))
            return strlen(endings[i]);
    return run_length(text, ret_class);
}

static enum err_code encode_words(const struct clip_tokenizer *t, struct span text, struct id_list *out,
                                  struct arena *scratch, struct err *err)
{
    while (text.len && !is_full(out)) {
        enum char_class class = CLASS_OTHER;
        size_t special = special_length(text), n = special ? special : word_length(text, &class);
        struct span word = { text.ptr, n };

        if (special) { /* one match of the pattern, but three words: brackets, name, brackets */
            struct span name = { text.ptr + BRACKET_BYTES, n - 2 * BRACKET_BYTES };

            TRY(encode_word(t, (struct span){ text.ptr, BRACKET_BYTES }, out, scratch, err));
            TRY(encode_word(t, name, out, scratch, err));
            word = (struct span){ name.ptr + name.len, BRACKET_BYTES };
        }
        if (class != CLASS_BLANK)
            TRY(encode_word(t, word, out, scratch, err));
        text.ptr += n;
        text.len -= n;
    }
    return ERR_OK;
}

/* Step 2; the result is in scratch. */
static enum err_code normalise(struct span text, struct arena *scratch, struct span *ret, struct err *err)
{
    int32_t *cps = NULL;
    size_t n_cps = 0, n = 0;
    char *buf = NULL;

    TRY(unicode_nfc(text, scratch, &cps, &n_cps, err));
    TRY(arena_alloc(scratch, 2 * n_cps + 1, 4, &buf,
                    err)); /* lower case: at most two code points, of four bytes each */
    for (size_t i = 0; i < n_cps; i++) {
        int32_t lower[2];

        if (unicode_is_white_space(cps[i])) {
            if (n == 0 || buf[n - 1] != ' ')
                buf[n++] = ' ';
            continue;
        }
        for (int k = 0, n_lower = unicode_lower(cps[i], lower); k < n_lower; k++)
            n += unicode_put(buf + n, lower[k]);
    }
    *ret = (struct span){ buf, n };
    return ERR_OK;
}

static enum err_code encode_text(const struct clip_tokenizer *t, struct span text, enum form form, struct id_list *out,
                                 struct arena *scratch, struct err *err);

/* Text between two special tokens: raw text is normalised and searched for special tokens again. */
static enum err_code encode_segment(const struct clip_tokenizer *t, struct span text, enum form form,
                                    struct id_list *out, struct arena *scratch, struct err *err)
{
    ARENA_SCRATCH(scratch);

    if (form == NORMALISED)
        return encode_words(t, text, out, scratch, err);
    TRY(normalise(text, scratch, &text, err));
    return encode_text(t, text, NORMALISED, out, scratch, err);
}

/* Bytes before the next special token that is looked for in this form. *ret_special: that token, or CLIP_SPECIALS. */
static size_t find_special(const struct clip_tokenizer *t, struct span text, enum form form, int *ret_special)
{
    for (size_t at = 0; at < text.len; at++) {
        struct span rest = { text.ptr + at, text.len - at };

        for (*ret_special = 0; *ret_special < CLIP_SPECIALS; (*ret_special)++)
            if (t->vocab.special_normalised[*ret_special] == (form == NORMALISED) &&
                span_starts(rest, clip_special_text[*ret_special]))
                return at;
    }
    *ret_special = CLIP_SPECIALS;
    return text.len;
}

/* Step 1: special tokens become their ids. */
static enum err_code encode_text(const struct clip_tokenizer *t, struct span text, enum form form, struct id_list *out,
                                 struct arena *scratch, struct err *err)
{
    while (text.len && !is_full(out)) {
        int special;
        size_t n = find_special(t, text, form, &special);

        TRY(encode_segment(t, (struct span){ text.ptr, n }, form, out, scratch, err));
        if (special < CLIP_SPECIALS) {
            n += strlen(clip_special_text[special]);
            if (!is_full(out))
                out->ids[out->n++] = t->vocab.special_id[special];
        }
        text.ptr += n;
        text.len -= n;
    }
    return ERR_OK;
}

enum err_code clip_tokenize(const struct clip_tokenizer *t, struct span text, int32_t ids[CLIP_MAX_IDS], int *ret_n,
                            struct arena *scratch, struct err *err)
{
    struct id_list out = { ids, 1 };

    if (text.len > TEXT_MAX_BYTES)
        return err_set(err, ERR_TOO_LARGE, "the prompt has %zu bytes; at most %d are allowed", text.len,
                       TEXT_MAX_BYTES);
    if (!unicode_valid(text))
        return err_set(err, ERR_INVALID, "the prompt is not valid UTF-8");
    ids[0] = t->vocab.special_id[CLIP_START];
    TRY(encode_text(t, text, RAW, &out, scratch, err));
    ids[out.n++] = t->vocab.special_id[CLIP_END];
    *ret_n = out.n;
    return ERR_OK;
}

void clip_pad(const struct clip_tokenizer *t, int32_t ids[CLIP_MAX_IDS], int n)
{
    for (; n < CLIP_MAX_IDS; n++)
        ids[n] = t->vocab.special_id[CLIP_END];
}
