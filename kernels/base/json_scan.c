#include "kernels/base/json_scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The position inside the value that is open at a depth: it decides what may come next. */
enum place { AT_TOP, AT_DONE, AT_ARRAY_FIRST, AT_ARRAY_NEXT, AT_OBJECT_FIRST, AT_OBJECT_NEXT, AT_COLON };

enum { NUMBER_MAX = 400 }; /* characters json_double reads: the longest exact double needs less */

void json_scan_init(struct json_scan *s, struct span text)
{
    *s = (struct json_scan){ .text = text, .max_depth = JSON_MAX_DEPTH };
}

static enum json_event fail(struct json_scan *s, const char *error)
{
    s->error = error;
    return JSON_ERROR;
}

/* The next byte, or -1 at the end, so that a NUL byte is not taken for the end. */
static int peek(const struct json_scan *s)
{
    return s->at < s->text.len ? (unsigned char)s->text.ptr[s->at] : -1;
}

static bool accept(struct json_scan *s, char c)
{
    if (peek(s) != c)
        return false;
    s->at++;
    return true;
}

static void skip_blanks(struct json_scan *s)
{
    int c;

    while ((c = peek(s)) == ' ' || c == '\t' || c == '\n' || c == '\r')
        s->at++;
}

static int hex_value(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The value of the four digits after "\u"; -1 when there are none. */
static int hex4(struct span text, size_t at)
{
    int value = 0;

    if (text.len < 4 || at > text.len - 4)
        return -1;
    for (size_t i = at; i < at + 4; i++) {
        int digit = hex_value((unsigned char)text.ptr[i]);

        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static bool is_high_surrogate(int c)
{
    return c >= 0xD800 && c <= 0xDBFF;
}

static bool is_low_surrogate(int c)
{
    return c >= 0xDC00 && c <= 0xDFFF;
}

/* s->at is after the four digits of a high surrogate. */
static bool scan_low_surrogate(struct json_scan *s)
{
    size_t before = s->at;

    if (accept(s, '\\') && accept(s, 'u') && is_low_surrogate(hex4(s->text, s->at))) {
        s->at += 4;
        return true;
    }
    s->at = before;
    return false;
}

/* s->at is after the backslash. NULL when the escape is valid. */
static const char *scan_escape(struct json_scan *s)
{
    int c = peek(s), unit;

    if (c < 0)
        return "a string without an end";
    s->at++;
    if (c != 'u')
        return c && strchr("\"\\/bfnrt", c) ? NULL : "an unknown escape";
    unit = hex4(s->text, s->at);
    if (unit < 0)
        return "\\u needs four hexadecimal digits";
    s->at += 4;
    if (s->any_text)
        return NULL;
    if (unit == 0)
        return "U+0000 in a string";
    if (is_low_surrogate(unit) || (is_high_surrogate(unit) && !scan_low_surrogate(s)))
        return "a lone surrogate";
    return NULL;
}

/* Length of the UTF-8 sequence at p (RFC 3629: shortest form, no surrogates, at most U+10FFFF); 0: it is broken. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    static const struct {
        unsigned char lead_min, lead_max, second_min, second_max, length;
    } forms[] = {
        { 0xC2, 0xDF, 0x80, 0xBF, 2 }, { 0xE0, 0xE0, 0xA0, 0xBF, 3 }, { 0xE1, 0xEC, 0x80, 0xBF, 3 },
        { 0xED, 0xED, 0x80, 0x9F, 3 }, { 0xEE, 0xEF, 0x80, 0xBF, 3 }, { 0xF0, 0xF0, 0x90, 0xBF, 4 },
        { 0xF1, 0xF3, 0x80, 0xBF, 4 }, { 0xF4, 0xF4, 0x80, 0x8F, 4 },
    };

    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        size_t n = forms[i].length;

        if (p[0] < forms[i].lead_min || p[0] > forms[i].lead_max)
            continue;
        if (left < n || p[1] < forms[i].second_min || p[1] > forms[i].second_max)
            return 0;
        for (size_t k = 2; k < n; k++)
            if ((p[k] & 0xC0) != 0x80)
                return 0;
        return n;
    }
    return 0;
}

size_t json_utf8_length(struct span text)
{
    const unsigned char *p = (const unsigned char *)text.ptr;

    if (text.len == 0)
        return 0;
    return p[0] < 0x80 ? 1 : utf8_length(p, text.len);
}

/* s->at is after the opening quote. */
static enum json_event scan_string(struct json_scan *s, enum json_event event)
{
    size_t start = s->at, n;
    const char *error;
    int c;

    s->escaped = false;
    while ((c = peek(s)) >= 0) {
        if (c == '"') {
            s->raw = (struct span){ s->text.ptr + start, s->at - start };
            s->at++;
            return event;
        }
        if (c < 0x20)
            return fail(s, "a control character in a string");
        if (c == '\\') {
            s->escaped = true;
            s->at++;
            error = scan_escape(s);
            if (error)
                return fail(s, error);
        } else if (c < 0x80 || s->any_text) {
            s->at++;
        } else {
            n = utf8_length((const unsigned char *)s->text.ptr + s->at, s->text.len - s->at);
            if (!n)
                return fail(s, "broken UTF-8");
            s->at += n;
        }
    }
    return fail(s, "a string without an end");
}

static bool scan_digits(struct json_scan *s)
{
    size_t start = s->at;

    while (peek(s) >= '0' && peek(s) <= '9')
        s->at++;
    return s->at > start;
}

static enum json_event scan_number(struct json_scan *s)
{
    size_t start = s->at;

    (void)accept(s, '-');
    if (!accept(s, '0') && !scan_digits(s))
        return fail(s, "a number without digits");
    if (peek(s) >= '0' && peek(s) <= '9')
        return fail(s, "a number with a leading zero");
    if (accept(s, '.') && !scan_digits(s))
        return fail(s, "a fraction without digits");
    if (accept(s, 'e') || accept(s, 'E')) {
        if (!accept(s, '-'))
            (void)accept(s, '+');
        if (!scan_digits(s))
            return fail(s, "an exponent without digits");
    }
    s->raw = (struct span){ s->text.ptr + start, s->at - start };
    return JSON_NUMBER;
}

static enum json_event scan_word(struct json_scan *s, const char *word, enum json_event event)
{
    size_t n = strlen(word);

    if (s->text.len - s->at < n || memcmp(s->text.ptr + s->at, word, n) != 0)
        return fail(s, "an unknown word");
    s->at += n;
    return event;
}

static enum json_event open_container(struct json_scan *s, enum place first, enum json_event event)
{
    if (s->depth >= s->max_depth || s->depth >= JSON_DEPTH_LIMIT)
        return fail(s, "nested too deeply");
    s->at++;
    s->state[++s->depth] = (unsigned char)first;
    return event;
}

static enum json_event close_container(struct json_scan *s, enum json_event event)
{
    s->depth--;
    return event;
}

static enum json_event scan_value(struct json_scan *s, enum place afterwards)
{
    int c;

    s->state[s->depth] = (unsigned char)afterwards;
    skip_blanks(s);
    c = peek(s);
    switch (c) {
    case '{':
        return open_container(s, AT_OBJECT_FIRST, JSON_OBJECT);
    case '[':
        return open_container(s, AT_ARRAY_FIRST, JSON_ARRAY);
    case '"':
        s->at++;
        return scan_string(s, JSON_STRING);
    case 't':
        return scan_word(s, "true", JSON_TRUE);
    case 'f':
        return scan_word(s, "false", JSON_FALSE);
    case 'n':
        return scan_word(s, "null", JSON_NULL);
    default:
        if (c == '-' || (c >= '0' && c <= '9'))
            return scan_number(s);
        return fail(s, c < 0 ? "the text ends too early" : "a value was expected");
    }
}

static enum json_event scan_key(struct json_scan *s)
{
    skip_blanks(s);
    if (!accept(s, '"'))
        return fail(s, "a key in quotes was expected");
    s->state[s->depth] = AT_COLON;
    return scan_string(s, JSON_KEY);
}

enum json_event json_scan_next(struct json_scan *s)
{
    if (s->error)
        return JSON_ERROR;
    skip_blanks(s);
    switch (s->state[s->depth]) {
    case AT_TOP:
        return scan_value(s, AT_DONE);
    case AT_DONE:
        return s->at == s->text.len ? JSON_END : fail(s, "something follows the value");
    case AT_ARRAY_FIRST:
        return accept(s, ']') ? close_container(s, JSON_ARRAY_END) : scan_value(s, AT_ARRAY_NEXT);
    case AT_ARRAY_NEXT:
        if (accept(s, ']'))
            return close_container(s, JSON_ARRAY_END);
        return accept(s, ',') ? scan_value(s, AT_ARRAY_NEXT) : fail(s, "',' or ']' was expected");
    case AT_OBJECT_FIRST:
        return accept(s, '}') ? close_container(s, JSON_OBJECT_END) : scan_key(s);
    case AT_OBJECT_NEXT:
        if (accept(s, '}'))
            return close_container(s, JSON_OBJECT_END);
        return accept(s, ',') ? scan_key(s) : fail(s, "',' or '}' was expected");
    default:
        return accept(s, ':') ? scan_value(s, AT_OBJECT_NEXT) : fail(s, "':' was expected");
    }
}

bool json_scan_skip(struct json_scan *s, enum json_event just_got)
{
    int outside = s->depth - 1;

    if (just_got != JSON_OBJECT && just_got != JSON_ARRAY)
        return just_got > JSON_END;
    while (s->depth > outside)
        if (json_scan_next(s) <= JSON_END)
            return false;
    return true;
}

static size_t put_utf8(char out[4], int c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* Converts the escape at raw.ptr[at] (the backslash) to UTF-8. Returns the number of characters read, 0 when it is not
 * an escape. */
static size_t read_escape(struct span raw, size_t at, bool any_text, char out[4], size_t *ret_n)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *letter;
    int high, low;

    if (at + 1 >= raw.len)
        return 0;
    if (raw.ptr[at + 1] != 'u') {
        letter = memchr(letters, raw.ptr[at + 1], sizeof letters - 1);
        if (!letter)
            return 0;
        out[0] = meanings[letter - letters];
        *ret_n = 1;
        return 2;
    }
    high = hex4(raw, at + 2);
    if (high < 0)
        return 0;
    if (!is_high_surrogate(high)) {
        *ret_n = put_utf8(out, high);
        return 6;
    }
    low = at + 12 <= raw.len && raw.ptr[at + 6] == '\\' && raw.ptr[at + 7] == 'u' ? hex4(raw, at + 8) : -1;
    if (!is_low_surrogate(low) && !any_text)
        return 0;
    if (!is_low_surrogate(low)) {
        *ret_n = put_utf8(out, high);
        return 6;
    }
    *ret_n = put_utf8(out, 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
    return 12;
}

static bool unescape(struct span raw, bool any_text, char *buf, size_t size, size_t *ret_len)
{
    size_t at = 0, len = 0;

    while (at < raw.len) {
        char piece[4] = { raw.ptr[at] };
        size_t n = 1, taken = raw.ptr[at] == '\\' ? read_escape(raw, at, any_text, piece, &n) : 1;

        if (!taken || len >= size || n > size - len)
            return false;
        memcpy(buf + len, piece, n);
        len += n;
        at += taken;
    }
    if (len >= size)
        return false;
    buf[len] = 0;
    *ret_len = len;
    return true;
}

bool json_unescape(struct span raw, char *buf, size_t size, size_t *ret_len)
{
    return unescape(raw, false, buf, size, ret_len);
}

bool json_unescape_any(struct span raw, char *buf, size_t size, size_t *ret_len)
{
    return unescape(raw, true, buf, size, ret_len);
}

bool json_int64(struct span raw, int64_t *ret)
{
    size_t i = raw.len > 0 && raw.ptr[0] == '-';
    bool negative = i;
    int64_t value = 0;

    if (i == raw.len)
        return false;
    for (; i < raw.len; i++) {
        int digit = raw.ptr[i] - '0';

        if (digit < 0 || digit > 9)
            return false;
        /* negative, because the negative range is larger by one */
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_sub_overflow(value, digit, &value))
            return false;
    }
    if (!negative && value == INT64_MIN)
        return false;
    *ret = negative ? value : -value;
    return true;
}

bool json_double(struct span raw, double *ret)
{
    char text[NUMBER_MAX + 1], *end;
    double value;

    if (raw.len == 0 || raw.len > NUMBER_MAX)
        return false;
    for (size_t i = 0; i < raw.len; i++)
        if (!raw.ptr[i] || !strchr("0123456789+-.eE", raw.ptr[i]))
            return false;
    memcpy(text, raw.ptr, raw.len);
    text[raw.len] = 0;
    value = strtod(text, &end);
    if (*end || !isfinite(value))
        return false;
    *ret = value;
    return true;
}

/* An unescaped key, and the number of its object. */
struct json_name {
    size_t object;
    struct span text;
};

static int compare_names(const void *x, const void *y)
{
    const struct json_name *a = x, *b = y;

    if (a->object != b->object)
        return a->object < b->object ? -1 : 1;
    if (a->text.len != b->text.len)
        return a->text.len < b->text.len ? -1 : 1;
    return a->text.len ? memcmp(a->text.ptr, b->text.ptr, a->text.len) : 0;
}

/* Pass 1 checks the syntax and counts the keys. */
static enum err_code count_keys(struct span text, int max_depth, size_t *ret_keys, struct err *err)
{
    struct json_scan s;
    enum json_event ev;

    json_scan_init(&s, text);
    s.max_depth = max_depth < JSON_MAX_DEPTH ? max_depth : JSON_MAX_DEPTH;
    *ret_keys = 0;
    while ((ev = json_scan_next(&s)) > JSON_END)
        *ret_keys += ev == JSON_KEY;
    return ev == JSON_END ? ERR_OK : err_set(err, ERR_CORRUPT, "JSON: %s at byte %zu", s.error, s.at);
}

/* Pass 2 collects the keys. `room` has a byte for each byte of text, since unescaping never makes a text longer. */
static bool collect_keys(struct span text, struct json_name *names, char *room, size_t room_size)
{
    size_t open[JSON_MAX_DEPTH + 1] = { 0 }, objects = 0, n = 0, used = 0;
    struct json_scan s;
    enum json_event ev;

    json_scan_init(&s, text);
    while ((ev = json_scan_next(&s)) > JSON_END) {
        size_t len = s.raw.len;

        if (ev == JSON_OBJECT)
            open[s.depth] = ++objects;
        if (ev != JSON_KEY)
            continue;
        names[n] = (struct json_name){ open[s.depth], s.raw };
        if (s.escaped) {
            if (!json_unescape(s.raw, room + used, room_size - used, &len))
                return false;
            names[n].text = (struct span){ room + used, len };
            used += len;
        }
        n++;
    }
    return true;
}

enum err_code json_check(struct span text, int max_depth, struct err *err)
{
    struct json_name *names = NULL;
    char *room = NULL;
    size_t n;
    enum err_code rc = count_keys(text, max_depth, &n, err);

    if (rc || n < 2)
        return rc;
    names = calloc(n, sizeof *names);
    room = malloc(text.len + 1);
    if (!names || !room) {
        rc = err_set(err, ERR_NOMEM, "JSON: no memory to compare %zu keys", n);
        goto out;
    }
    if (!collect_keys(text, names, room, text.len + 1)) {
        rc = err_set(err, ERR_INTERNAL, "JSON: a checked key does not unescape");
        goto out;
    }
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 1; i < n && !rc; i++)
        if (compare_names(&names[i - 1], &names[i]) == 0)
            rc = err_set(err, ERR_CORRUPT, "JSON: key '%.*s' twice in one object", SPAN_ARG(names[i].text));
out:
    free(names);
    free(room);
    return rc;
}

enum err_code json_check_any(struct span text, int max_depth, struct err *err)
{
    struct json_scan s;
    enum json_event ev;

    json_scan_init(&s, text);
    s.max_depth = max_depth;
    s.any_text = true;
    do
        ev = json_scan_next(&s);
    while (ev > JSON_END);
    return ev == JSON_END ? ERR_OK : err_set(err, ERR_CORRUPT, "JSON: %s at byte %zu", s.error, s.at);
}

/* The place after the string whose opening quote is at p. A quote behind an odd number of backslashes is not its end.
 */
static const char *after_string(const char *p, const char *end)
{
    const char *begin = ++p, *quote;

    while ((quote = memchr(p, '"', (size_t)(end - p)))) {
        const char *before = quote;

        while (before > begin && before[-1] == '\\')
            before--;
        if ((quote - before) % 2 == 0)
            return quote + 1;
        p = begin = quote + 1;
    }
    return end;
}

size_t json_value_length(struct span rest)
{
    const char *p = rest.ptr, *end = p + rest.len;
    size_t depth = 0;

    if (!rest.len)
        return 0;
    if (*p != '{' && *p != '[' && *p != '"') {
        while (p < end && !strchr(",}] \t\r\n", *p))
            p++;
        return (size_t)(p - rest.ptr);
    }
    do {
        while (p < end && *p != '"' && (*p | 0x20) != '{' &&
               (*p | 0x20) != '}') /* brackets, too: they differ by 0x20 */
            p++;
        if (p == end)
            break;
        if (*p == '"')
            p = after_string(p, end);
        else
            depth = (*p++ | 0x20) == '{' ? depth + 1 : depth - 1;
    } while (depth);
    return (size_t)(p - rest.ptr);
}
