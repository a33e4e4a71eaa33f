#include "worker/job/prompt.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/span.h"

#define PROMPT_GROUND "empty background, the same surface and texture continuing naturally, nothing added"

static struct span trimmed(const char *text)
{
    struct span s = span_of(text);

    while (s.len && strchr(" \t\r\n", s.ptr[0]))
        s = (struct span){ s.ptr + 1, s.len - 1 };
    while (s.len && strchr(" \t\r\n", s.ptr[s.len - 1]))
        s.len--;
    return s;
}

static bool is_control(char c)
{
    return ((unsigned char)c < 32 && c != '\t' && c != '\n' && c != '\r') || c == 127;
}

bool prompt_label_is_usable(const char *text)
{
    struct span label = trimmed(text);

    if (!label.len || label.len > PROMPT_LABEL_MAX)
        return false;
    for (size_t i = 0; i < label.len; i++)
        if ((unsigned char)label.ptr[i] < 32 || label.ptr[i] == 127 || strchr("\"':;<>{}[]|", label.ptr[i]))
            return false;
    return true;
}

static enum err_code from_labels(const struct prompt_wishes *w, struct arena *a, const char **ret, struct err *err)
{
    char list[PROMPT_MAX_LABELS * (PROMPT_LABEL_MAX + 2) + 1] = "";
    char *text = NULL;
    size_t at = 0;

    for (int i = 0; i < w->n_labels; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%.*s", i ? ", " : "", SPAN_ARG(trimmed(w->labels[i])));
    TRY(w->n_labels ? arena_printf(a, &text, err, "A photo of %s: " PROMPT_GROUND, list)
                    : arena_printf(a, &text, err, "A photo: " PROMPT_GROUND));
    *ret = text;
    return ERR_OK;
}

enum err_code prompt_build(const struct prompt_wishes *w, struct arena *a, const char **ret, struct err *err)
{
    struct span own = trimmed(w->prompt);
    char *text = NULL;

    if (w->prompt_invalid)
        return err_set(err, ERR_PROMPT, "prompt: not a string");
    if (!own.len)
        return from_labels(w, a, ret, err);
    if (own.len > PROMPT_MAX_BYTES)
        return err_set(err, ERR_PROMPT, "prompt: %zu bytes, at most %d", own.len, PROMPT_MAX_BYTES);
    for (size_t i = 0; i < own.len; i++)
        if (is_control(own.ptr[i]))
            return err_set(err, ERR_PROMPT, "prompt: a control character at byte %zu", i);
    TRY(span_dup(a, own, &text, err));
    *ret = text;
    return ERR_OK;
}
