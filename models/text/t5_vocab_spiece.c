#include "models/text/t5_vocab.h"

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };
enum { FIELD_PIECE = 1, FIELD_TRAINER = 2, FIELD_NORMALISER = 3 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_BYTE = 6 };
enum { TRAINER_MODEL_TYPE = 3, TRAINER_BYTE_FALLBACK = 35, TRAINER_EOS_ID = 42, TRAINER_PAD_ID = 43 };
enum { MODEL_UNIGRAM = 1, NORMALISER_CHARSMAP = 2 };

/* One field of a message. */
struct field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;    /* varint and fixed types */
    struct span bytes; /* length-delimited type */
};

static bool take_varint(struct span *s, uint64_t *ret)
{
    uint64_t v = 0;

    for (size_t i = 0; i < s->len && i < 10; i++) {
        unsigned char byte = (unsigned char)s->ptr[i];

        if (i == 9 && byte > 1) /* more than 64 bits */
            return false;
        v |= (uint64_t)(byte & 0x7F) << (7 * i);
        if (byte & 0x80)
            continue;
        s->ptr += i + 1;
        s->len -= i + 1;
        *ret = v;
        return true;
    }
    return false;
}

static bool take_bytes(struct span *s, uint64_t n, struct span *ret)
{
    if (n > s->len)
        return false;
    *ret = (struct span){ s->ptr, (size_t)n };
    s->ptr += n;
    s->len -= (size_t)n;
    return true;
}

static bool take_fixed(struct span *s, size_t n, uint64_t *ret)
{
    struct span bytes;

    if (!take_bytes(s, n, &bytes))
        return false;
    *ret = 0;
    for (size_t i = 0; i < n; i++)
        *ret |= (uint64_t)(unsigned char)bytes.ptr[i] << (8 * i);
    return true;
}

/* Takes the next field off the front of a message that is not at its end. Groups, long obsolete, are refused. */
static bool take_field(struct span *s, struct field *f)
{
    uint64_t key, n;

    *f = (struct field){ 0 };
    if (!take_varint(s, &key) || key >> 3 == 0 || key >> 32)
        return false;
    f->number = (uint32_t)(key >> 3);
    f->type = (enum wire_type)(key & 7);
    switch (f->type) {
    case WIRE_VARINT:
        return take_varint(s, &f->value);
    case WIRE_64:
        return take_fixed(s, 8, &f->value);
    case WIRE_32:
        return take_fixed(s, 4, &f->value);
    case WIRE_BYTES:
        return take_varint(s, &n) && take_bytes(s, n, &f->bytes);
    default:
        return false;
    }
}

static double score_of(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float score;

    memcpy(&score, &low, sizeof score);
    return (double)score;
}

static enum err_code read_piece(struct span message, struct piece *ret, uint64_t *ret_type, struct err *err)
{
    struct field f;

    *ret_type = TYPE_NORMAL;
    while (message.len) {
        if (!take_field(&message, &f))
            return err_set(err, ERR_CORRUPT, "spiece: piece %d is damaged", ret->id);
        if (f.number == PIECE_TEXT && f.type == WIRE_BYTES)
            ret->text = f.bytes;
        else if (f.number == PIECE_SCORE && f.type == WIRE_32)
            ret->score = score_of(f.value);
        else if (f.number == PIECE_TYPE && f.type == WIRE_VARINT)
            *ret_type = f.value;
    }
    return ret->text.len ? ERR_OK : err_set(err, ERR_CORRUPT, "spiece: piece %d is empty", ret->id);
}

static enum err_code add_piece(struct t5_vocab *v, struct span message, struct err *err)
{
    struct piece p = { .id = v->n_pieces };
    uint64_t type;

    TRY(read_piece(message, &p, &type, err));
    if (type == TYPE_BYTE)
        return err_set(err, ERR_UNSUPPORTED, "spiece: byte pieces are not supported");
    if (type == TYPE_UNKNOWN) {
        if (v->unk_id >= 0)
            return err_set(err, ERR_CORRUPT, "spiece: there are two unknown pieces");
        v->unk_id = p.id;
    }
    if (type == TYPE_UNKNOWN || type == TYPE_CONTROL) {
        if (v->n_added == T5_VOCAB_MAX_ADDED)
            return err_set(err, ERR_TOO_LARGE, "spiece: more than %d control pieces", T5_VOCAB_MAX_ADDED);
        v->added[v->n_added++] = p;
    }
    v->pieces[v->n_pieces++] = p;
    return ERR_OK;
}

static enum err_code read_trainer(struct t5_vocab *v, struct span message, struct err *err)
{
    struct field f;

    while (message.len) {
        if (!take_field(&message, &f))
            return err_set(err, ERR_CORRUPT, "spiece: the trainer settings are damaged");
        if (f.type != WIRE_VARINT)
            continue;
        if (f.number == TRAINER_MODEL_TYPE && f.value != MODEL_UNIGRAM)
            return err_set(err, ERR_UNSUPPORTED, "spiece: the model is of type %d; only Unigram, %d, is supported",
                           (int)f.value, MODEL_UNIGRAM);
        if (f.number == TRAINER_BYTE_FALLBACK && f.value)
            return err_set(err, ERR_UNSUPPORTED, "spiece: byte fallback is not supported");
        if (f.number == TRAINER_EOS_ID && f.value < T5_VOCAB_MAX_PIECES)
            v->eos_id = (int32_t)f.value;
        if (f.number == TRAINER_PAD_ID && f.value < T5_VOCAB_MAX_PIECES)
            v->pad_id = (int32_t)f.value;
    }
    return ERR_OK;
}

static enum err_code read_normaliser(struct t5_vocab *v, struct span message, struct err *err)
{
    struct field f;

    while (message.len) {
        if (!take_field(&message, &f))
            return err_set(err, ERR_CORRUPT, "spiece: the normaliser settings are damaged");
        if (f.number == NORMALISER_CHARSMAP && f.type == WIRE_BYTES)
            v->charsmap = f.bytes;
    }
    return ERR_OK;
}

/* The file has no sentinels; the official library numbers them after the pieces. */
static enum err_code add_sentinels(struct t5_vocab *v, struct arena *a, struct err *err)
{
    for (int k = T5_SENTINELS - 1; k >= 0; k--) {
        struct piece p = { .id = v->n_pieces };
        char *text = NULL;

        TRY(arena_printf(a, &text, err, "<extra_id_%d>", k));
        p.text = span_of(text);
        v->pieces[v->n_pieces++] = p;
        v->added[v->n_added++] = p;
    }
    return ERR_OK;
}

static enum err_code count_pieces(struct span file, int *ret, struct err *err)
{
    struct field f;
    bool trainer = false, normaliser = false;

    *ret = 0;
    while (file.len) {
        if (!take_field(&file, &f))
            return err_set(err, ERR_CORRUPT, "spiece: the file is damaged after piece %d", *ret);
        if (f.type != WIRE_BYTES)
            continue;
        *ret += f.number == FIELD_PIECE;
        trainer = trainer || f.number == FIELD_TRAINER;
        normaliser = normaliser || f.number == FIELD_NORMALISER;
        if (*ret > T5_VOCAB_MAX_PIECES)
            return err_set(err, ERR_TOO_LARGE, "spiece: more than %d pieces", T5_VOCAB_MAX_PIECES);
    }
    if (!*ret || !trainer || !normaliser) /* a file cut off between two fields is well-formed, but lacks the settings */
        return err_set(err, ERR_CORRUPT, "spiece: the pieces, the trainer or the normaliser settings are missing");
    return ERR_OK;
}

static enum err_code read_field(struct t5_vocab *v, const struct field *f, struct err *err)
{
    if (f->type != WIRE_BYTES)
        return ERR_OK;
    switch (f->number) {
    case FIELD_PIECE:
        return add_piece(v, f->bytes, err);
    case FIELD_TRAINER:
        return read_trainer(v, f->bytes, err);
    case FIELD_NORMALISER:
        return read_normaliser(v, f->bytes, err);
    default:
        return ERR_OK;
    }
}

enum err_code t5_vocab_from_spiece(struct span file, struct arena *a, struct t5_vocab *ret, struct err *err)
{
    struct t5_vocab v = { .prepend = T5_PREPEND_FIRST, .unk_id = -1, .eos_id = 1 };
    struct field f;
    int n = 0;

    TRY(count_pieces(file, &n, err));
    TRY(arena_alloc(a, (size_t)n + T5_SENTINELS, sizeof *v.pieces, &v.pieces, err));
    TRY(arena_alloc(a, T5_VOCAB_MAX_ADDED + T5_SENTINELS, sizeof *v.added, &v.added, err));
    while (file.len) {
        if (!take_field(&file, &f))
            return err_set(err, ERR_CORRUPT, "spiece: the file is damaged");
        TRY(read_field(&v, &f, err));
    }
    if (v.unk_id < 0 || v.eos_id >= v.n_pieces)
        return err_set(err, ERR_CORRUPT, "spiece: the unknown or the end piece is missing");
    TRY(add_sentinels(&v, a, err));
    *ret = v;
    return ERR_OK;
}
