#include "models/jail/reply.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGNMENT = 64, PAGE = 4096, PIECE_BYTES = 4 << 20 };

/* --- the members of struct image_notes --- */

static const struct {
    size_t at;
    int min, max;
} numbers[] = {
    { offsetof(struct image_notes, orientation), 1, 8 },
    { offsetof(struct image_notes, rows_missing), 0, IMAGE_MAX_SIDE },
};

static const size_t flags[] = {
    offsetof(struct image_notes, indexed),
    offsetof(struct image_notes, has_gain_map),
};

static const size_t spans[] = {
    offsetof(struct image_notes, icc),
    offsetof(struct image_notes, exif),
};

enum {
    N_NUMBERS = sizeof numbers / sizeof *numbers,
    N_FLAGS = sizeof flags / sizeof *flags,
    N_SPANS = sizeof spans / sizeof *spans
};

/* Every member, in order, by position: with one more this does not compile (-Wmissing-field-initializers), which is the
 * time to give it its line above. alpha has code of its own. */
__attribute__((unused)) static const struct image_notes every_member_crosses = {
    /* rows_missing */ 0,   /* orientation */ 1,     /* icc */ { NULL, 0 },
    /* indexed */ false,    /* alpha */ NULL,
    /* exif */ { NULL, 0 }, /* has_gain_map */ false
};

static void *member(struct image_notes *notes, size_t at)
{
    return (char *)notes + at;
}

static const void *const_member(const struct image_notes *notes, size_t at)
{
    return (const char *)notes + at;
}

/* --- the header --- */

struct part {
    uint64_t at, len; /* bytes */
};

struct reply_header {
    char magic[8];
    uint64_t total; /* bytes of the whole file */
    int32_t code;
    char msg[ERR_MESSAGE_MAX];
    int32_t width, height, channels;
    int32_t numbers[N_NUMBERS], flags[N_FLAGS];
    struct part pixels, alpha, spans[N_SPANS];
};

static const char magic[8] = "picture";

static_assert(sizeof(struct reply_header) <= REPLY_PIXELS_AT, "the header reaches into the pixels");

/* --- writing, in the jailed process --- */

struct writer {
    int fd;
    uint64_t end;
    struct err *err;
};

static enum err_code put(const struct writer *w, const char *from, size_t n, uint64_t at)
{
    while (n) {
        ssize_t done = pwrite(w->fd, from, n, (off_t)at);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return err_set(w->err, ERR_IO, "the picture cannot be handed over: %s", strerror(errno));
        from += done;
        at += (uint64_t)done;
        n -= (size_t)done;
    }
    return ERR_OK;
}

/* Without this the picture would be in memory twice. Only whole pages of the piece are given back. */
static void give_back(const char *from, size_t n)
{
    uintptr_t first = ((uintptr_t)from + PAGE - 1) & ~(uintptr_t)(PAGE - 1),
              end = ((uintptr_t)from + n) & ~(uintptr_t)(PAGE - 1);

    if (end > first)
        (void)madvise((void *)first, end - first, MADV_DONTNEED);
}

static enum err_code put_part(struct writer *w, const void *from, size_t n, struct part *ret)
{
    const char *bytes = from;

    *ret = (struct part){ w->end, n };
    for (size_t done = 0; done < n;) {
        size_t piece = n - done < PIECE_BYTES ? n - done : PIECE_BYTES;

        TRY(put(w, bytes + done, piece, w->end + done));
        if (n > PIECE_BYTES)
            give_back(bytes + done, piece);
        done += piece;
    }
    w->end = (w->end + n + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
    return ERR_OK;
}

static enum err_code put_notes(struct writer *w, const struct reply *r, struct reply_header *h)
{
    size_t plane = (size_t)r->image.width * (size_t)r->image.height;

    for (size_t i = 0; i < N_NUMBERS; i++)
        h->numbers[i] = *(const int *)const_member(&r->notes, numbers[i].at);
    for (size_t i = 0; i < N_FLAGS; i++)
        h->flags[i] = *(const bool *)const_member(&r->notes, flags[i]);
    TRY(put_part(w, r->notes.alpha, r->notes.alpha ? plane : 0, &h->alpha));
    for (size_t i = 0; i < N_SPANS; i++) {
        const struct span *s = const_member(&r->notes, spans[i]);

        TRY(put_part(w, s->ptr, s->len, &h->spans[i]));
    }
    return ERR_OK;
}

static enum err_code put_picture(struct writer *w, const struct reply *r, struct reply_header *h)
{
    h->width = r->image.width;
    h->height = r->image.height;
    h->channels = r->image.channels;
    TRY(put_part(w, r->image.pixels, image_bytes(&r->image), &h->pixels));
    return put_notes(w, r, h);
}

/* The header comes last: an answer without one is none. */
enum err_code reply_write(int fd, const struct reply *r, struct err *err)
{
    struct reply_header h = { .code = (int32_t)r->err.code };
    struct writer w = { .fd = fd, .end = REPLY_PIXELS_AT, .err = err };

    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.msg, r->err.msg, sizeof h.msg);
    if (r->err.code == ERR_OK)
        TRY(put_picture(&w, r, &h));
    h.total = w.end;
    if (ftruncate(fd, (off_t)w.end) != 0)
        return err_set(err, ERR_IO, "the picture cannot be handed over: %s", strerror(errno));
    return put(&w, (const char *)&h, sizeof h, 0);
}

/* --- reading, where nothing is believed --- */

/* Errors that decoders may report. Any other, such as one that has the device replaced, is not theirs to decide. */
static bool may_say(int32_t code)
{
    static const enum err_code theirs[] = { ERR_OK,        ERR_INVALID,     ERR_CORRUPT, ERR_UNSUPPORTED, ERR_HEIC,
                                            ERR_TOO_LARGE, ERR_UNAVAILABLE, ERR_NOMEM,   ERR_NOT_AN_IMAGE };

    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
        if (code == (int32_t)theirs[i])
            return true;
    return false;
}

/* Whether a part is inside the file, in its place and of a length from min to max. */
static bool is_inside(const struct part *p, size_t file_len, uint64_t min, uint64_t max)
{
    return p->len >= min && p->len <= max && p->at >= REPLY_PIXELS_AT && p->at % ALIGNMENT == 0 && p->at <= file_len &&
           p->len <= file_len - p->at;
}

static const char *read_picture(const struct reply_header *h, char *bytes, size_t len, struct image *ret)
{
    uint64_t n;

    if ((h->channels != 1 && h->channels != 3) || image_check_size(h->width, h->height, NULL))
        return "a picture of an impossible size";
    n = (uint64_t)h->width * (uint64_t)h->height * (uint64_t)h->channels;
    if (!is_inside(&h->pixels, len, n, n))
        return "pixels that are not there";
    *ret = (struct image){ h->width, h->height, h->channels, (uint8_t *)bytes + h->pixels.at };
    return NULL;
}

static const char *read_notes(const struct reply_header *h, char *bytes, size_t len, struct image_notes *ret)
{
    uint64_t plane = h->alpha.len ? (uint64_t)h->width * (uint64_t)h->height : 0;

    for (size_t i = 0; i < N_NUMBERS; i++) {
        if (h->numbers[i] < numbers[i].min || h->numbers[i] > numbers[i].max)
            return "a number that is out of range";
        *(int *)member(ret, numbers[i].at) = h->numbers[i];
    }
    for (size_t i = 0; i < N_FLAGS; i++)
        *(bool *)member(ret, flags[i]) = h->flags[i] != 0;
    if (!is_inside(&h->alpha, len, plane, plane))
        return "an alpha channel that is not there";
    ret->alpha = plane ? (uint8_t *)bytes + h->alpha.at : NULL;
    for (size_t i = 0; i < N_SPANS; i++) {
        if (!is_inside(&h->spans[i], len, 0, REPLY_SPAN_MAX_BYTES))
            return "metadata that are not there";
        *(struct span *)member(ret, spans[i]) =
            (struct span){ h->spans[i].len ? bytes + h->spans[i].at : NULL, (size_t)h->spans[i].len };
    }
    return NULL;
}

const char *reply_read(void *bytes, size_t len, struct reply *ret)
{
    struct reply_header h;
    struct reply r = { 0 };
    const char *wrong = NULL;

    if (len < REPLY_PIXELS_AT)
        return "no answer";
    memcpy(&h, bytes, sizeof h); /* once, so that what was checked is what is used */
    if (memcmp(h.magic, magic, sizeof magic) != 0 || h.total != len)
        return "half an answer";
    if (!may_say(h.code) || !memchr(h.msg, 0, sizeof h.msg))
        return "an error that is not a decoder's";
    (void)err_set(&r.err, (enum err_code)h.code, "%s", h.msg);
    if (h.code == ERR_OK)
        wrong = read_picture(&h, bytes, len, &r.image);
    if (h.code == ERR_OK && !wrong)
        wrong = read_notes(&h, bytes, len, &r.notes);
    if (!wrong)
        *ret = r;
    return wrong;
}
