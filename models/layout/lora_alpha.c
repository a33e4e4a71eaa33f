#include "models/layout/lora_alpha.h"

#include "kernels/base/file.h"
#include "kernels/base/json_scan.h"

enum { MAX_DEPTH = 8, MAX_TEXT = 256 << 10 /* bytes; it is read again for every layer */ };

static const char key_of_metadata[] = "lora_adapter_metadata";
static const char file_of_peft[] = "adapter_model.safetensors", config_of_peft[] = "adapter_config.json";
static const double default_alpha = 8;

/* A text with settings, and what messages say of it. */
struct source {
    const char *file, *name;
    const char *prefix; /* of the names that count */
    struct span text;
};

static enum err_code broken(const struct source *o, const char *what, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "%s: its %s is damaged: %s", o->file, o->name, what);
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
static enum err_code read_patterns(const struct source *o, struct json_scan *s, struct lora_settings *ret,
                                   struct err *err)
{
    enum json_event ev = json_scan_next(s);
    size_t begin = s->at - 1;
    double number;

    if (ev == JSON_NULL)
        return ERR_OK;
    if (ev != JSON_OBJECT)
        return broken(o, "alpha_pattern is not an object", err);
    while (json_scan_next(s) == JSON_KEY) {
        if (!is_plain(s->raw))
            return err_set(err, ERR_UNSUPPORTED,
                           "%s: alpha_pattern in its %s has the regular expression '%.*s'; only layers' names are read",
                           o->file, o->name, SPAN_ARG(s->raw));
        if (json_scan_next(s) != JSON_NUMBER || !json_double(s->raw, &number))
            return broken(o, "an alpha_pattern is not a number", err);
    }
    ret->patterns = (struct span){ s->text.ptr + begin, s->at - begin };
    return ERR_OK;
}

static enum err_code read_setting(const struct source *o, struct span name, struct json_scan *s,
                                  struct lora_settings *ret, struct err *err)
{
    enum json_event ev;

    if (span_is(name, "alpha_pattern"))
        return read_patterns(o, s, ret, err);
    ev = json_scan_next(s);
    if (span_is(name, "lora_alpha") && (ev != JSON_NUMBER || !json_double(s->raw, &ret->alpha)))
        return broken(o, "lora_alpha is not a number", err);
    if (span_is(name, "use_rslora"))
        ret->rslora = ev == JSON_TRUE;
    return json_scan_skip(s, ev) ? ERR_OK : broken(o, "a value is cut", err);
}

static enum err_code read_text(const struct source *o, struct lora_settings *ret, struct err *err)
{
    struct lora_settings settings = { .alpha = default_alpha };
    struct json_scan s;

    if (o->text.len > MAX_TEXT)
        return err_set(err, ERR_TOO_LARGE, "%s: its %s has %zu bytes; at most %d are allowed", o->file, o->name,
                       o->text.len, MAX_TEXT);
    if (json_check(o->text, MAX_DEPTH, NULL))
        return broken(o, "it is not JSON", err);
    json_scan_init(&s, o->text);
    if (json_scan_next(&s) != JSON_OBJECT)
        return broken(o, "it is not an object", err);
    while (json_scan_next(&s) == JSON_KEY) {
        struct span name = s.raw;

        if (!span_starts(name, o->prefix)) {
            if (!json_scan_skip(&s, json_scan_next(&s)))
                return broken(o, "a value is cut", err);
            continue;
        }
        settings.found = true;
        name = (struct span){ name.ptr + strlen(o->prefix), name.len - strlen(o->prefix) };
        TRY(read_setting(o, name, &s, &settings, err));
    }
    *ret = settings;
    return ERR_OK;
}

/* PEFT's own file has its settings beside it. One that is not there leaves every alpha the rank. */
static enum err_code read_config(const char *path, struct arena *a, struct lora_settings *ret, struct err *err)
{
    const char *name = file_short_name(path);
    struct source o = { .file = name, .name = config_of_peft, .prefix = "" };
    char *config = NULL;
    struct err missing = { 0 };
    enum err_code rc;

    TRY(arena_printf(a, &config, err, "%.*s%s", (int)(name - path), path, config_of_peft));
    rc = file_read(config, MAX_TEXT, a, &o.text, &missing);
    if (rc == ERR_NOT_FOUND)
        return ERR_OK;
    if (rc)
        return err_set(err, rc, "%s: %s", name, missing.msg);
    TRY(read_text(&o, ret, err));
    ret->config = o.text;
    return ERR_OK;
}

enum err_code lora_settings_read(const struct tensor_file *f, const char *path, struct arena *a,
                                 struct lora_settings *ret, struct err *err)
{
    struct source o = { .file = f->path, .name = key_of_metadata, .prefix = "transformer." };
    const char *text = NULL;

    *ret = (struct lora_settings){ .alpha = default_alpha };
    if (f->metadata.len && !tensor_file_metadata(f, key_of_metadata, a, &text, NULL)) {
        o.text = span_of(text);
        return read_text(&o, ret, err);
    }
    return path && !strcmp(file_short_name(path), file_of_peft) ? read_config(path, a, ret, err) : ERR_OK;
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
