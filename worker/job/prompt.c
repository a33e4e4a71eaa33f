#include "worker/job/prompt.h"

#include <string.h>

#include "kernels/base/json_scan.h"

static bool is_utf8(struct span s)
{
    size_t n;

    for (; s.len && (n = json_utf8_length(s)); s.len -= n)
        s.ptr += n;
    return !s.len;
}

static bool is_control(char c)
{
    return ((unsigned char)c < 32 && c != '\t' && c != '\n' && c != '\r') || c == 127;
}

static bool label_is_usable(struct span label)
{
    if (!label.len || label.len > PROMPT_LABEL_MAX || !is_utf8(label))
        return false;
    for (size_t i = 0; i < label.len; i++)
        if (is_control(label.ptr[i]))
            return false;
    return true;
}

enum err_code prompt_wish(struct prompt_wishes *w, struct span text, struct arena *a, struct err *err)
{
    char *copy;

    w->prompt_invalid = (text.len && memchr(text.ptr, 0, text.len)) || !is_utf8(text);
    if (w->prompt_invalid)
        return ERR_OK;
    TRY(span_dup(a, text, &copy, err));
    w->prompt = copy;
    return ERR_OK;
}

enum err_code prompt_wish_label(struct prompt_wishes *w, struct span label, struct arena *a, struct err *err)
{
    char *copy;

    label = span_trimmed(label);
    if (w->n_labels == PROMPT_MAX_LABELS || !label_is_usable(label))
        return ERR_OK;
    TRY(span_dup(a, label, &copy, err));
    w->labels[w->n_labels++] = copy;
    return ERR_OK;
}

/* The labels' own text is never used: it may be anything. */
static const char *from_labels(const struct prompt_wishes *w)
{
    const struct prompt_surface *best = NULL;

    for (int i = 0; i < w->n_labels; i++) {
        const struct prompt_surface *s = prompt_table_find(span_of(w->labels[i]));

        if (s && (!best || s->rank < best->rank))
            best = s;
    }
    return (best ? best : prompt_table_at(0))->prompt;
}

enum err_code prompt_build(const struct prompt_wishes *w, struct arena *a, const char **ret, struct err *err)
{
    struct span own = span_trimmed(span_of(w->prompt));
    char *text = NULL;

    if (w->prompt_invalid)
        return err_set(err, ERR_PROMPT,
                       "prompt: the session's field is not a string, or is not Unicode, or holds U+0000: the app has "
                       "to write it as text");
    if (!own.len) {
        *ret = from_labels(w);
        return ERR_OK;
    }
    if (own.len > PROMPT_MAX_BYTES)
        return err_set(err, ERR_PROMPT, "prompt: %zu bytes, at most %d", own.len, PROMPT_MAX_BYTES);
    for (size_t i = 0; i < own.len; i++)
        if (is_control(own.ptr[i]))
            return err_set(err, ERR_PROMPT, "prompt: a control character at byte %zu", i);
    TRY(span_dup(a, own, &text, err));
    *ret = text;
    return ERR_OK;
}
