#include "worker/local/audit_page.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/out_file.h"

enum { MAX_SCORES = 32, SCORE_NAME_SIZE = 96, SCORE_DEPTH = 3, EXACT = -1 };

/* The columns that depend on the cells. Those of scores: all that any cell has, in the order of their first appearance.
 */
struct columns {
    char names[MAX_SCORES][SCORE_NAME_SIZE];
    int n;
    bool has_loras; /* any cell has: then there is a column for them, too */
};

static const char head[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self' file:; style-src "
    "'unsafe-inline'; script-src 'unsafe-inline'\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n<title>Audit</title>\n<style>\n"
    ":root { color-scheme: light dark }\n"
    "body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem }\n"
    "table { border-collapse: collapse }\n"
    "th, td { padding: .35rem .6rem; border-bottom: 1px solid #8886; text-align: right; vertical-align: top }\n"
    "th { position: sticky; top: 0; background: Canvas; z-index: 1 }\n"
    "th button { font: inherit; font-weight: 600; border: 0; background: none; color: inherit; cursor: pointer; "
    "padding: 0 }\n"
    "td.text, th.text { text-align: left; min-width: 10rem; max-width: 16rem; overflow-wrap: anywhere }\n"
    "figure { display: inline-block; margin: 0 .4rem .4rem 0; text-align: center; font-size: .85em }\n"
    "figure img { display: block; width: 14rem; height: auto; background: #8883 }\n"
    "body:has(#native:checked) figure img { width: auto; max-width: none }\n"
    "</style>\n</head>\n<body>\n<h1>Audit</h1>\n";

static const char tail[] =
    "</tbody>\n</table>\n<script>\n"
    "document.querySelectorAll('th button').forEach(button => button.addEventListener('click', () => {\n"
    "  const column = button.parentNode.cellIndex, body = document.querySelector('tbody');\n"
    "  const down = button.dataset.sorted === 'up';\n"
    "  document.querySelectorAll('th button').forEach(other => delete other.dataset.sorted);\n"
    "  button.dataset.sorted = down ? 'down' : 'up';\n"
    "  const key = row => row.cells[column].dataset.value;\n"
    "  const order = (a, b) => isNaN(a) || isNaN(b) ? String(a).localeCompare(String(b)) : a - b;\n"
    "  [...body.rows].sort((a, b) => order(key(a), key(b)) * (down ? -1 : 1)).forEach(row => body.append(row));\n"
    "}));\n</script>\n</body>\n</html>\n";

/* ---- text ---- */

static void put(struct out_file *f, const char *text)
{
    out_file_write(f, text, strlen(text));
}

static void put_escaped(struct out_file *f, const char *text)
{
    static const char *const names[] = {
        ['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['"'] = "&quot;", ['\''] = "&#39;"
    };

    for (size_t n; *text; text += n) {
        n = strcspn(text, "&<>\"'");
        out_file_write(f, text, n);
        if (text[n])
            put(f, names[(unsigned char)text[n++]]);
    }
}

/* With so many decimals; with EXACT as many digits as it takes, up to nine. */
static void put_number(struct out_file *f, double v, int decimals)
{
    char text[64];

    if (decimals == EXACT)
        (void)snprintf(text, sizeof text, "%.9g", v);
    else
        (void)snprintf(text, sizeof text, "%.*f", decimals, v);
    put(f, text);
}

/* ---- the columns ---- */

static const struct json *scores_of(const struct json *cell)
{
    return json_get(json_get(cell, "inpaint"), "scores");
}

static void add_name(struct columns *s, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->names[i], name) == 0)
            return;
    if (s->n < MAX_SCORES && strlen(name) < SCORE_NAME_SIZE)
        (void)snprintf(s->names[s->n++], SCORE_NAME_SIZE, "%s", name);
}

/* The numbers below `v`; the names of members are joined by dots. */
static void collect(struct columns *s, const struct json *v, const char *before, int depth)
{
    for (v = json_first(v); v && depth < SCORE_DEPTH; v = json_next(v)) {
        char name[SCORE_NAME_SIZE];
        double number;
        int n = snprintf(name, sizeof name, "%s%s%s", before, *before ? "." : "", json_key(v) ? json_key(v) : "");

        if (n <= 0 || (size_t)n >= sizeof name)
            continue;
        if (json_number(v, &number))
            add_name(s, name);
        else if (json_type(v) == JSON_T_OBJECT)
            collect(s, v, name, depth + 1);
    }
}

static bool find_score(const struct json *v, const char *name, double *ret)
{
    for (v = json_first(v); v; v = json_next(v)) {
        const char *key = json_key(v) ? json_key(v) : "";
        size_t n = strlen(key);

        if (strcmp(key, name) == 0 && json_number(v, ret))
            return true;
        if (strncmp(key, name, n) == 0 && name[n] == '.' && find_score(v, name + n + 1, ret))
            return true;
    }
    return false;
}

static const struct json *loras_of(const struct json *cell)
{
    return json_get(json_get(cell, "engine"), "loras");
}

static bool has_loras(const struct json *cell)
{
    return *json_text(loras_of(cell));
}

static void put_heading(struct out_file *f, const char *name, bool is_text)
{
    put(f, is_text ? "<th class=\"text\"><button type=\"button\">" : "<th><button type=\"button\">");
    put_escaped(f, name);
    put(f, "</button></th>");
}

/* The pictures stand before the many numbers, so that they are seen without scrolling to the side. */
static void put_headings(struct out_file *f, const struct columns *s)
{
    static const char *const numbers[] = {
        "guidance", "steps", "seed", "seconds", "of these denoising", "KiB of edited.jpg", "pixels changed"
    };

    put(f, "<table>\n<thead><tr><th class=\"text\">pictures</th>"); /* first: numbers that need scrolling matter less */
    put_heading(f, "transformer", true);
    if (s->has_loras)
        put_heading(f, "LoRAs", true);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        put_heading(f, numbers[i], false);
    for (int i = 0; i < s->n; i++)
        put_heading(f, s->names[i], false);
    put(f, "</tr></thead>\n<tbody>\n");
}

/* ---- a row ---- */

/* A number in the column's format; a dash where there is none. */
static void put_cell(struct out_file *f, bool is_there, double v, int decimals)
{
    put(f, "<td data-value=\"");
    if (is_there)
        put_number(f, v, EXACT);
    put(f, "\">");
    if (is_there)
        put_number(f, v, decimals);
    else
        put(f, "\xe2\x80\x93");
    put(f, "</td>");
}

static void put_member(struct out_file *f, const struct json *v, double factor, int decimals)
{
    double number = 0;
    bool is_there = json_number(v, &number);

    put_cell(f, is_there, number * factor, decimals);
}

static void put_text_cell(struct out_file *f, const char *class, const char *text)
{
    put(f, "<td");
    put(f, class);
    put(f, " data-value=\"");
    put_escaped(f, text);
    put(f, "\">");
    put_escaped(f, text);
    put(f, "</td>");
}

static void put_figure(struct out_file *f, const struct json *picture, const char *member, const char *caption)
{
    const char *path = json_string(json_get(picture, member));
    double width = 0, height = 0;

    if (!path)
        return;
    put(f, "<figure><a href=\"");
    put_escaped(f, path);
    put(f, "\"><img loading=\"lazy\" alt=\"");
    put_escaped(f, caption);
    put(f, "\" src=\"");
    put_escaped(f, path);
    if (json_number(json_get(picture, "width"), &width) && json_number(json_get(picture, "height"), &height)) {
        put(f, "\" width=\"");
        put_number(f, width, 0);
        put(f, "\" height=\"");
        put_number(f, height, 0);
    }
    put(f, "\"></a><figcaption>");
    put_escaped(f, caption);
    put(f, "</figcaption></figure>");
}

static void put_pictures(struct out_file *f, const struct json *cell)
{
    const char *folder = json_string(json_get(cell, "folder"));

    put(f, "<td class=\"text\" style=\"max-width: none\">");
    for (const struct json *v = json_first(json_get(cell, "pictures")); v; v = json_next(v)) {
        put(f, "<div style=\"white-space: nowrap\">");
        put_figure(f, v, "before", "before");
        put_figure(f, v, "after", "after");
        put_figure(f, v, "difference",
                   "difference \xc3\x97"
                   "20");
        put(f, "</div>");
    }
    if (folder) {
        put(f, "<a href=\"");
        put_escaped(f, folder);
        put(f, "/edited.jpg\">edited.jpg</a>");
    }
    for (const struct json *v = json_first(json_get(json_get(cell, "inpaint"), "warnings")); v; v = json_next(v)) {
        put(f, " ");
        put_escaped(f, json_text(v));
    }
    put(f, "</td>");
}

static void put_row(struct out_file *f, const struct json *cell, const struct columns *s)
{
    const struct json *request = json_get(cell, "request");

    put(f, "<tr>");
    put_pictures(f, cell);
    put_text_cell(f, " class=\"text\"", json_text(json_get(json_get(cell, "engine"), "model")));
    if (s->has_loras)
        put_text_cell(f, " class=\"text\"", has_loras(cell) ? json_text(loras_of(cell)) : "none");
    put_member(f, json_get(request, "guidance"), 1, EXACT);
    put_member(f, json_get(request, "steps"), 1, 0);
    put_text_cell(f, "", json_text(json_get(request, "seed")));
    put_member(f, json_get(cell, "seconds"), 1, 1);
    put_member(f, json_get(cell, "denoiseSeconds"), 1, 1);
    put_member(f, json_get(cell, "editedBytes"), 1.0 / 1024, 0);
    put_member(f, json_get(cell, "changedPixels"), 1, 0);
    for (int i = 0; i < s->n; i++) {
        double v = 0;
        bool is_there = find_score(scores_of(cell), s->names[i], &v);

        put_cell(f, is_there, v, 3);
    }
    put(f, "</tr>\n");
}

/* ---- the page ---- */

static void put_fact(struct out_file *f, const char *name, const char *text)
{
    if (!*text)
        return;
    put(f, name);
    put_escaped(f, text);
    put(f, "<br>\n");
}

static void put_intro(struct out_file *f, const struct json *audit)
{
    const struct json *photo = json_get(audit, "photo"), *cells = json_get(audit, "cells");
    double width = 0, height = 0, planned = 0;

    put(f, "<p>\n");
    put_fact(f, "Photo: ", json_text(json_get(photo, "name")));
    if (json_number(json_get(photo, "width"), &width) && json_number(json_get(photo, "height"), &height)) {
        put(f, "Size: ");
        put_number(f, width, 0);
        put(f, " \xc3\x97 ");
        put_number(f, height, 0);
        put(f, " pixels<br>\n");
    }
    put_fact(f, "Mask: ", json_text(json_get(json_get(audit, "mask"), "name")));
    put_fact(f, "Prompt: ", json_text(json_get(audit, "prompt")));
    put_fact(f, "Program: inpaint-worker ", json_text(json_get(audit, "version")));
    put(f, "Cells: ");
    put_number(f, json_count(cells), 0);
    if (json_number(json_get(audit, "planned"), &planned)) {
        put(f, " of ");
        put_number(f, planned, 0);
    }
    put(f, "\n</p>\n<p><label><input type=\"checkbox\" id=\"native\"> pictures at 100 %</label>. Click on a heading to "
           "sort."
           " The difference of each channel is that of the result before it is encoded, times 20: black has not"
           " changed.</p>\n");
}

enum err_code audit_page_write(const char *path, const struct json *audit, struct err *err)
{
    const struct json *cells = json_get(audit, "cells");
    struct out_file *f = NULL;
    struct columns s = { .n = 0 };

    for (const struct json *v = json_first(cells); v; v = json_next(v)) {
        collect(&s, scores_of(v), "", 0);
        s.has_loras |= has_loras(v);
    }
    TRY(out_file_open(&f, path, err));
    put(f, head);
    put_intro(f, audit);
    put_headings(f, &s);
    for (const struct json *v = json_first(cells); v; v = json_next(v))
        put_row(f, v, &s);
    put(f, tail);
    return out_file_close(f, OUT_FILE_KEEP, err);
}
