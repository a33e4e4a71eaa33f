#include "models/layout/lora_alpha.h"

#include "kernels/base/json_scan.h"

enum { MAX_DEPTH = 8, MAX_TEXT = 256 << 10 /* bytes; it is read again for every layer */ };

static const char key_of_metadata[] = "lora_adapter_metadata";
static const char part[] = "transformer.";
static const double default_alpha = 8;

static enum err_code broken(const struct tensor_file *f, const char *what, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "%s: the metadata '%s' is damaged: %s", f->path, key_of_metadata, what);
}

/* PEFT takes a pattern for a regular expression. A point in it stands for any character, but is meant as a point. */
static bool is_plain(struct span pattern)
{
    for (size_t i = 0; i < pattern.len; i++)
        if (strchr("\\*+?[](){}|$", pattern.ptr[i]) || (pattern.ptr[i] == '^' && i))
            return false;
    return true;
}

/* The scanner stands before the object's value; it is taken over. */
static enum err_code read_patterns(const struct tensor_file *f, struct json_scan *s, struct lora_settings *ret,
                                   struct err *err)
{
    enum json_event ev = json_scan_next(s);
    size_t begin = s->at - 1;
    double number;

    if (ev == JSON_NULL)
        return ERR_OK;
    if (ev != JSON_OBJECT)
        return broken(f, "alpha_pattern is not an object", err);
    while (json_scan_next(s) == JSON_KEY) {
        if (!is_plain(s->raw))
            return err_set(
                err, ERR_UNSUPPORTED,
                "%s: alpha_pattern in its metadata has the regular expression '%.*s'; only layers' names are read",
                f->path, SPAN_ARG(s->raw));
        if (json_scan_next(s) != JSON_NUMBER || !json_double(s->raw, &number))
            return broken(f, "an alpha_pattern is not a number", err);
    }
    ret->patterns = (struct span){ s->text.ptr + begin, s->at - begin };
    return ERR_OK;
}

static enum err_code read_setting(const struct tensor_file *f, struct span name, struct json_scan *s,
                                  struct lora_settings *ret, struct err *err)
{
    enum json_event ev;

    if (span_is(name, "alpha_pattern"))
        return read_patterns(f, s, ret, err);
    ev = json_scan_next(s);
    if (span_is(name, "lora_alpha") && (ev != JSON_NUMBER || !json_double(s->raw, &ret->alpha)))
        return broken(f, "lora_alpha is not a number", err);
    if (span_is(name, "use_rslora"))
        ret->rslora = ev == JSON_TRUE;
    return json_scan_skip(s, ev) ? ERR_OK : broken(f, "a value is cut", err);
}

enum err_code lora_settings_read(const struct tensor_file *f, struct arena *a, struct lora_settings *ret,
                                 struct err *err)
{
    struct lora_settings settings = { .alpha = default_alpha };
    const char *text = NULL;
    struct json_scan s;

    *ret = settings;
    if (!f->metadata.len || tensor_file_metadata(f, key_of_metadata, a, &text, NULL))
        return ERR_OK;
    if (strlen(text) > MAX_TEXT)
        return err_set(err, ERR_TOO_LARGE, "%s: the metadata '%s' has %zu bytes; at most %d are allowed", f->path,
                       key_of_metadata, strlen(text), MAX_TEXT);
    if (json_check(span_of(text), MAX_DEPTH, NULL))
        return broken(f, "it is no JSON", err);
    json_scan_init(&s, span_of(text));
    if (json_scan_next(&s) != JSON_OBJECT)
        return broken(f, "it is not an object", err);
    while (json_scan_next(&s) == JSON_KEY) {
        struct span name = s.raw;

        if (!span_starts(name, part)) {
            if (!json_scan_skip(&s, json_scan_next(&s)))
                return broken(f, "a value is cut", err);
            continue;
        }
        settings.found = true;
        name = (struct span){ name.ptr + strlen(part), name.len - strlen(part) };
        TRY(read_setting(f, name, &s, &settings, err));
    }
    *ret = settings;
    return ERR_OK;
}

/* The same name, or the end of one behind a point. */
static bool matches(struct span pattern, struct span layer)
{
    if (pattern.len && pattern.ptr[0] == '^')
        return span_eq((struct span){ pattern.ptr + 1, pattern.len - 1 }, layer);
    if (!pattern.len || layer.len < pattern.len ||
        memcmp(layer.ptr + layer.len - pattern.len, pattern.ptr, pattern.len))
        return false;
    return layer.len == pattern.len || layer.ptr[layer.len - pattern.len - 1] == '.';
}

double lora_settings_alpha(const struct lora_settings *s, struct span layer)
{
    struct json_scan scan;
    double alpha = s->alpha;

    if (!s->patterns.len)
        return alpha;
    json_scan_init(&scan, s->patterns);
    (void)json_scan_next(&scan);
    while (json_scan_next(&scan) == JSON_KEY) {
        bool found = matches(scan.raw, layer);

        (void)json_scan_next(&scan);
        if (found)
            return json_double(scan.raw, &alpha) ? alpha : s->alpha;
    }
    return alpha;
}
