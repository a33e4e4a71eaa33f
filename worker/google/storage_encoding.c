/* storage_encoding - an object that is stored packed, as its contentEncoding says: PROTOCOL.md 5.3. */
#include <string.h>

#include "worker/base/gunzip.h"
#include "worker/google/storage_parts.h"

enum { PACKINGS_MAX = 2 }; /* more than once is a mistake of a tool, but twice happens */

static bool is_word(struct span word, const char *text)
{
    return word.len == strlen(text) && strncasecmp(word.ptr, text, word.len) == 0;
}

/* "identity" and "aws-chunked", which S3's tools leave behind, say nothing about the stored bytes. */
enum err_code storage_packings(const char *object, const char *encoding, int *ret, struct err *err)
{
    *ret = 0;
    for (const char *p = encoding; *p; p += *p == ',') {
        struct span word;

        p += strspn(p, " \t");
        word = (struct span){ p, strcspn(p, ", \t") };
        p += word.len;
        p += strspn(p, " \t");
        if (is_word(word, "gzip") || is_word(word, "x-gzip"))
            ++*ret;
        else if (word.len && !is_word(word, "identity") && !is_word(word, "aws-chunked"))
            *ret = PACKINGS_MAX + 1;
        if (*ret > PACKINGS_MAX || (*p && *p != ','))
            return err_set(err, ERR_UNSUPPORTED,
                           "storage: get '%.100s': stored with contentEncoding '%.40s': only gzip can be undone; a "
                           "picture is best stored without one",
                           object, encoding);
    }
    return ERR_OK;
}

/* A label may be wrong: what does not begin as gzip is taken as it is, and the picture is judged by its content. */
enum err_code storage_unpack(const char *object, int packings, size_t max_bytes, struct arena *a, struct span *body,
                             struct err *err)
{
    struct err why = { 0 };
    enum err_code rc = ERR_OK;

    while (!rc && packings-- > 0 && gunzip_is_packed(*body))
        rc = gunzip(*body, max_bytes, a, body, &why);
    return rc ? err_set(err, rc, "storage: get '%.100s': stored with contentEncoding gzip: %s", object, why.msg)
              : ERR_OK;
}
