#include "kernels/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void tidy(char *msg)
{
    for (; *msg; msg++)
        if ((unsigned char)*msg < 0x20 || *msg == 0x7f)
            *msg = '?';
}

enum err_code(err_set)(struct err *err, enum err_code code, const char *fmt, ...)
{
    va_list ap;

    if (!err || err->code)
        return code;
    err->code = code;
    va_start(ap, fmt);
    (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    tidy(err->msg);
    return code;
}

enum err_code err_prefix(struct err *err, const char *fmt, ...)
{
    char rest[ERR_MESSAGE_MAX];
    va_list ap;
    size_t n;

    if (!err)
        return ERR_INTERNAL;
    memcpy(rest, err->msg, sizeof rest);
    va_start(ap, fmt);
    (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    tidy(err->msg);
    n = strlen(err->msg);
    (void)snprintf(err->msg + n, sizeof err->msg - n, ": %s", rest);
    return err->code;
}

const char *err_name(enum err_code code)
{
    static const char *const names[] = {
#define X(code, name) name,
        ERR_MAP(X)
#undef X
    };

    return (unsigned)code < ERR_COUNT ? names[code] : "?";
}
