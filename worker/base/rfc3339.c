#include "worker/base/rfc3339.h"

#include <stdio.h>
#include <time.h>

/* Days since 1970-01-01 in the proleptic Gregorian calendar. Years begin in March, so that the leap day is last. */
static int64_t days_from_date(int64_t year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t month_from_march = (month + 9) % 12;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;

    return 365 * y + y / 4 - y / 100 + y / 400 + day_of_year - 719468;
}

static int days_in_month(int64_t year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

/* Reads exactly `digits` digits. -1: there are other characters. */
static int number(struct span *s, size_t digits)
{
    int value = 0;

    if (s->len < digits)
        return -1;
    for (size_t i = 0; i < digits; i++) {
        if (s->ptr[i] < '0' || s->ptr[i] > '9')
            return -1;
        value = value * 10 + (s->ptr[i] - '0');
    }
    s->ptr += digits;
    s->len -= digits;
    return value;
}

static bool one_of(struct span *s, const char *set, char *ret)
{
    if (!s->len || !*s->ptr || !strchr(set, *s->ptr))
        return false;
    *ret = *s->ptr++;
    s->len--;
    return true;
}

/* ".123" -> 123000 us; no point: 0; -1: a point without digits, or with more than nine. */
static int fraction_us(struct span *s)
{
    int value = 0, digits = 0;
    char point;

    if (!one_of(s, ".", &point))
        return 0;
    for (; s->len && *s->ptr >= '0' && *s->ptr <= '9'; s->ptr++, s->len--, digits++)
        if (digits < 6)
            value = value * 10 + (*s->ptr - '0');
    if (digits < 1 || digits > 9)
        return -1;
    for (; digits < 6; digits++)
        value *= 10;
    return value;
}

static bool offset_minutes(struct span *s, int *ret)
{
    char sign;
    int hours, minutes;

    if (!one_of(s, "Zz+-", &sign))
        return false;
    *ret = 0;
    if (sign == 'Z' || sign == 'z')
        return true;
    hours = number(s, 2);
    if (!one_of(s, ":", &(char){ 0 }))
        return false;
    minutes = number(s, 2);
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
        return false;
    *ret = (hours * 60 + minutes) * (sign == '-' ? -1 : 1);
    return true;
}

bool rfc3339_parse(struct span s, int64_t *ret_us)
{
    int year, month, day, hour, minute, second, us, offset;
    char c;

    year = number(&s, 4);
    if (year < 1 || !one_of(&s, "-", &c))
        return false;
    month = number(&s, 2);
    if (month < 1 || month > 12 || !one_of(&s, "-", &c))
        return false;
    day = number(&s, 2);
    if (day < 1 || day > days_in_month(year, month) || !one_of(&s, "Tt", &c))
        return false;
    hour = number(&s, 2);
    if (hour < 0 || hour > 23 || !one_of(&s, ":", &c))
        return false;
    minute = number(&s, 2);
    if (minute < 0 || minute > 59 || !one_of(&s, ":", &c))
        return false;
    second = number(&s, 2);
    us = fraction_us(&s);
    if (second < 0 || second > 60 || us < 0 || !offset_minutes(&s, &offset) || s.len)
        return false;
    *ret_us = (((days_from_date(year, month, day) * 24 + hour) * 60 + minute - offset) * 60 + second) * 1000000 + us;
    return true;
}

void rfc3339_format(int64_t us, char ret[RFC3339_SIZE])
{
    const int64_t first = days_from_date(1, 1, 1) * 86400, last = days_from_date(10000, 1, 1) * 86400 - 1;
    int64_t seconds = us / 1000000, rest = us % 1000000;
    struct tm tm;
    time_t t;

    if (rest < 0) {
        rest += 1000000;
        seconds--;
    }
    t = (time_t)(seconds < first ? first : seconds > last ? last : seconds);
    (void)gmtime_r(&t, &tm);
    (void)snprintf(ret, RFC3339_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ", (unsigned)(tm.tm_year + 1900) % 10000,
                   (unsigned)(tm.tm_mon + 1) % 100, (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100,
                   (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100, (unsigned)rest % 1000000);
}
