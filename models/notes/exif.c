#include "models/notes/exif.h"
#include "kernels/base/json_scan.h"

#include <stdint.h>

enum {
    TIFF_HEADER_BYTES = 8,
    TIFF_ENTRY_BYTES = 12,
    TIFF_BYTE = 1,
    TIFF_SHORT = 3,
    TIFF_LONG = 4,
    TIFF_SIGNED_SHORT = 8,
    TIFF_SIGNED_LONG = 9,
    EXIF_TAG_ORIENTATION = 0x0112
};

struct tiff {
    struct span bytes;
    bool big_endian;
};

/* false: the data end before the value ends. */
static bool u16_at(const struct tiff *t, uint64_t at, uint32_t *ret)
{
    const unsigned char *p = (const unsigned char *)t->bytes.ptr + at;

    if (t->bytes.len < 2 || at > t->bytes.len - 2)
        return false;
    *ret = t->big_endian ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
    return true;
}

static bool u32_at(const struct tiff *t, uint64_t at, uint32_t *ret)
{
    uint32_t first, second;

    if (!u16_at(t, at, &first) || !u16_at(t, at + 2, &second))
        return false;
    *ret = t->big_endian ? first << 16 | second : second << 16 | first;
    return true;
}

static bool open_tiff(struct span bytes, struct tiff *t, uint32_t *ret_ifd)
{
    uint32_t magic;

    *t = (struct tiff){ .bytes = bytes, .big_endian = span_starts(bytes, "MM") };
    if (!t->big_endian && !span_starts(bytes, "II"))
        return false;
    return u16_at(t, 2, &magic) && magic == 42 && u32_at(t, 4, ret_ifd) && *ret_ifd >= TIFF_HEADER_BYTES;
}

/* The value of the entry at `at`; 0 when it is not a single BYTE, SHORT or LONG, signed or not, or when the data end
 * before it does. */
static uint32_t single_integer(const struct tiff *t, uint64_t at)
{
    uint32_t type, count, value;

    if (!u16_at(t, at + 2, &type) || !u32_at(t, at + 4, &count) || count != 1)
        return 0;
    if (type == TIFF_LONG || type == TIFF_SIGNED_LONG)
        return u32_at(t, at + 8, &value) ? value : 0;
    if (!u16_at(t, at + 8, &value))
        return 0;
    if (type == TIFF_BYTE)
        return t->big_endian ? value >> 8 : value & 0xff;
    return type == TIFF_SHORT || type == TIFF_SIGNED_SHORT ? value : 0;
}

int exif_orientation(struct span tiff)
{
    uint32_t ifd, n_entries, tag, value;
    struct tiff t;

    if (!open_tiff(tiff, &t, &ifd) || !u16_at(&t, ifd, &n_entries))
        return 1;
    for (uint64_t i = 0; i < n_entries; i++) {
        uint64_t at = ifd + 2 + i * TIFF_ENTRY_BYTES;

        if (!u16_at(&t, at, &tag))
            return 1;
        if (tag != EXIF_TAG_ORIENTATION)
            continue;
        value = single_integer(&t, at);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

enum {
    TEXT_BYTE = 1,
    TEXT_ASCII = 2,
    TEXT_UNDEFINED = 7,
    TEXT_UTF8 = 129, /* Exif 3.0 */
    OFFSET_LONG = 4,
    OFFSET_IFD = 13,
    TAG_COPYRIGHT = 0x8298,
    TAG_EXIF_IFD = 0x8769,
    TAG_DATE_TIME_ORIGINAL = 0x9003,
    TAG_OFFSET_TIME_ORIGINAL = 0x9011,
    TAG_SUBSEC_TIME_ORIGINAL = 0x9291
};

/* Where the first entry with this tag is; 0: there is none. */
static uint64_t find_entry(const struct tiff *t, uint64_t ifd, uint32_t wanted)
{
    uint32_t n_entries, tag;

    if (!u16_at(t, ifd, &n_entries))
        return 0;
    for (uint64_t i = 0; i < n_entries; i++) {
        uint64_t at = ifd + 2 + i * TIFF_ENTRY_BYTES;

        if (!u16_at(t, at, &tag))
            return 0;
        if (tag == wanted)
            return at;
    }
    return 0;
}

static struct span without_padding(struct span text)
{
    while (text.len && memchr(" \0", text.ptr[text.len - 1], 2))
        text.len--;
    return text;
}

/* The text of an entry, without the NULs and spaces that cameras pad it with; empty when it is absent, has no type of
 * single bytes, or is not there as a whole. */
static struct span text_of(const struct tiff *t, uint64_t ifd, uint32_t tag)
{
    const struct span none = { NULL, 0 };
    uint64_t entry = find_entry(t, ifd, tag), at = entry + 8;
    uint32_t type, count, offset;

    if (!entry || !u16_at(t, entry + 2, &type) || !u32_at(t, entry + 4, &count) || !u32_at(t, at, &offset))
        return none;
    if (type != TEXT_ASCII && type != TEXT_UTF8 && type != TEXT_UNDEFINED && type != TEXT_BYTE)
        return none;
    if (count > 4)
        at = offset;
    if (at > t->bytes.len || count > t->bytes.len - at)
        return none;
    return without_padding((struct span){ t->bytes.ptr + at, count });
}

/* Whether the text has the form of the pattern, in which '0' stands for any digit. */
static bool has_form(struct span text, const char *pattern)
{
    if (text.len != strlen(pattern))
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (pattern[i] == '0' ? text.ptr[i] < '0' || text.ptr[i] > '9' : text.ptr[i] != pattern[i])
            return false;
    return true;
}

static int two_digits(const char *p)
{
    return (p[0] - '0') * 10 + p[1] - '0';
}

static int days_of_month(int year, int month)
{
    static const char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return month < 1 || month > 12 ? 0 : month == 2 && leap ? 29 : days[month - 1];
}

static bool is_date(struct span s)
{
    int year, day;

    if (!has_form(s, "0000:00:00 00:00:00"))
        return false;
    year = two_digits(s.ptr) * 100 + two_digits(s.ptr + 2);
    day = two_digits(s.ptr + 8);
    return day >= 1 && day <= days_of_month(year, two_digits(s.ptr + 5)) && two_digits(s.ptr + 11) < 24 &&
           two_digits(s.ptr + 14) < 60 && two_digits(s.ptr + 17) <= 60; /* a leap second */
}

static bool is_utc_offset(struct span s)
{
    return (has_form(s, "+00:00") || has_form(s, "-00:00")) && two_digits(s.ptr + 1) <= 14 &&
           two_digits(s.ptr + 4) < 60;
}

static bool is_subsec(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    return s.len > 0 && s.len < sizeof((struct exif_facts *)0)->subsec;
}

static void copy_if(bool sound, struct span text, char *ret)
{
    if (sound)
        memcpy(ret, text.ptr, text.len); /* `ret` was zeroed, and has room for what is sound */
}

static bool is_utf8(struct span text)
{
    while (text.len) {
        size_t n = json_utf8_length(text);

        if (!n)
            return false;
        text = (struct span){ text.ptr + n, text.len - n };
    }
    return true;
}

/* One byte of the copyright, as UTF-8: `*len` bytes at `ret`. false: a control character that is no white space. */
static bool put_copyright_byte(unsigned char c, bool latin1, char *ret, size_t *len)
{
    if (c == '\t' || c == '\r' || c == '\n')
        c = ' ';
    if ((c && c < ' ') || c == 0x7f || (latin1 && c >= 0x80 && c < 0xa0))
        return false;
    *len = 1;
    ret[0] = (char)c;
    if (latin1 && c >= 0x80) {
        *len = 2;
        ret[0] = (char)(0xc0 | c >> 6);
        ret[1] = (char)(0x80 | (c & 0x3f));
    }
    return true;
}

/* The control characters U+0080 to U+009F. */
static bool has_c1_control(struct span utf8)
{
    for (size_t i = 0; i + 1 < utf8.len; i++)
        if ((unsigned char)utf8.ptr[i] == 0xc2 && (unsigned char)utf8.ptr[i + 1] < 0xa0)
            return true;
    return false;
}

/* The length that was written to `ret`, which has EXIF_COPYRIGHT_MAX bytes; 0: the text is not printable, or too long.
 */
static size_t copy_copyright(struct span text, char *ret)
{
    bool latin1 = !is_utf8(text);
    size_t len = 0, n, n_nuls = 0;
    char bytes[2];

    if (!latin1 && has_c1_control(text))
        return 0;
    for (size_t i = 0; i < text.len; i++) {
        n_nuls += text.ptr[i] == 0;
        if (n_nuls > 1) /* there are two parts, no more */
            break;
        if (!put_copyright_byte((unsigned char)text.ptr[i], latin1, bytes, &n) || len + n > EXIF_COPYRIGHT_MAX)
            return 0;
        memcpy(ret + len, bytes, n);
        len += n;
    }
    return without_padding((struct span){ ret, len }).len;
}

/* A start of 0 means that there is no such directory. */
static uint32_t exif_ifd(const struct tiff *t, uint32_t ifd)
{
    uint64_t at = find_entry(t, ifd, TAG_EXIF_IFD);
    uint32_t type, count, offset;

    if (!at || !u16_at(t, at + 2, &type) || !u32_at(t, at + 4, &count) || !u32_at(t, at + 8, &offset))
        return 0;
    return (type == OFFSET_LONG || type == OFFSET_IFD) && count == 1 && offset >= TIFF_HEADER_BYTES ? offset : 0;
}

static void read_time(const struct tiff *t, uint32_t ifd, struct exif_facts *ret)
{
    struct span taken = text_of(t, ifd, TAG_DATE_TIME_ORIGINAL);
    struct span utc_offset = text_of(t, ifd, TAG_OFFSET_TIME_ORIGINAL);
    struct span subsec = text_of(t, ifd, TAG_SUBSEC_TIME_ORIGINAL);

    copy_if(is_date(taken), taken, ret->taken);
    copy_if(is_utc_offset(utc_offset), utc_offset, ret->utc_offset);
    copy_if(is_subsec(subsec), subsec, ret->subsec);
}

void exif_read_facts(struct span bytes, struct exif_facts *ret)
{
    struct tiff t;
    uint32_t ifd, sub_ifd;

    *ret = (struct exif_facts){ .copyright_len = 0 };
    if (!open_tiff(bytes, &t, &ifd))
        return;
    ret->copyright_len = copy_copyright(text_of(&t, ifd, TAG_COPYRIGHT), ret->copyright);
    memset(ret->copyright + ret->copyright_len, 0, sizeof ret->copyright - ret->copyright_len);
    sub_ifd = exif_ifd(&t, ifd);
    if (sub_ifd)
        read_time(&t, sub_ifd, ret);
}

enum err_code exif_copy(struct arena *a, struct span tiff, struct span *ret, struct err *err)
{
    struct span part = { tiff.ptr, tiff.len < EXIF_MAX_BYTES ? tiff.len : EXIF_MAX_BYTES };
    char *copy = NULL;

    TRY(span_dup(a, part, &copy, err));
    *ret = (struct span){ copy, part.len };
    return ERR_OK;
}
