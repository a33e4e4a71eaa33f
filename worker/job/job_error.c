#include "worker/job/job_error.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "kernels/base/span.h"

const struct job_error_info *job_error_info(enum job_error e)
{
    static const struct job_error_info table[] = {
#define X(code, outcome, retryable, sentence) { #code, OUTCOME_##outcome, retryable, sentence },
        JOB_ERROR_MAP(X)
#undef X
    };

    return &table[(unsigned)e < JOB_ERROR_COUNT ? e : JOB_INTERNAL];
}

enum job_error job_error_of(enum err_code rc)
{
    static const struct {
        enum err_code rc;
        enum job_error error;
    } table[] = {
        { ERR_NOT_FOUND, JOB_INPUT_MISSING },
        { ERR_NOT_AN_IMAGE, JOB_INPUT_NOT_AN_IMAGE },
        { ERR_HEIC, JOB_INPUT_HEIC_UNSUPPORTED },
        { ERR_TOO_LARGE, JOB_INPUT_TOO_LARGE },
        { ERR_CORRUPT, JOB_INPUT_CORRUPT },
        { ERR_UNSUPPORTED, JOB_INPUT_CORRUPT },
        { ERR_MASK_EMPTY, JOB_MASK_EMPTY },
        { ERR_MASK_FULL, JOB_MASK_FULL },
        { ERR_MASK_LARGE, JOB_MASK_TOO_LARGE },
        { ERR_MASK_AMBIGUOUS, JOB_MASK_AMBIGUOUS },
        { ERR_MASK_SIZE, JOB_MASK_SIZE_MISMATCH },
        { ERR_PROMPT, JOB_PROMPT_INVALID },
        { ERR_DEADLINE, JOB_DEADLINE },
        { ERR_NUMERIC, JOB_NUMERIC_FAULT },
        { ERR_GPU, JOB_GPU_FAULT },
        { ERR_NOMEM, JOB_OUT_OF_MEMORY },
        { ERR_UNAVAILABLE, JOB_BACKEND_UNAVAILABLE },
        { ERR_UNKNOWN_OUTCOME, JOB_BACKEND_UNAVAILABLE },
        { ERR_PROTOCOL, JOB_BACKEND_UNAVAILABLE },
        { ERR_DENIED, JOB_BACKEND_UNAVAILABLE },
        { ERR_CONFLICT, JOB_BACKEND_UNAVAILABLE },
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].rc == rc)
            return table[i].error;
    return JOB_INTERNAL;
}

/* ---- details ---- */

static bool has_detail(enum err_code rc)
{
    return rc == ERR_TOO_LARGE || rc == ERR_UNSUPPORTED || rc == ERR_MASK_EMPTY || rc == ERR_MASK_FULL ||
           rc == ERR_MASK_LARGE || rc == ERR_MASK_AMBIGUOUS || rc == ERR_MASK_SIZE;
}

/* Takes a word and its successor, such as ": ", off the front. */
static bool skip(struct span *s, const char *front)
{
    size_t n = strlen(front);

    if (!span_starts(*s, front))
        return false;
    *s = (struct span){ s->ptr + n, s->len - n };
    return true;
}

static bool begins_with_a_module(struct span s)
{
    size_t n = 0;

    while (n < s.len && (islower((unsigned char)s.ptr[n]) || isdigit((unsigned char)s.ptr[n]) || s.ptr[n] == '_'))
        n++;
    return n < s.len && s.ptr[n] == ':';
}

static bool is_for_people(const char *message, struct span seen)
{
    for (size_t i = 0; i < seen.len; i++)
        if (seen.ptr[i] < ' ' || seen.ptr[i] > '~')
            return false;
    return seen.len > 0 && strlen(message) < ERR_MESSAGE_MAX - 1 && !begins_with_a_module(seen);
}

/* Without " (NAME)" at its end. */
static struct span without_setting(struct span s)
{
    size_t n = s.len;

    if (!span_ends(s, ")"))
        return s;
    for (n--; n > 0 && (isupper((unsigned char)s.ptr[n - 1]) || s.ptr[n - 1] == '_'); n--) {
    }
    return n >= 2 && memcmp(s.ptr + n - 2, " (", 2) == 0 ? (struct span){ s.ptr, n - 2 } : s;
}

/* What was seen, as one sentence about this thing. false: it does not fit. */
static bool write_sentence(struct span seen, const char *thing, char *ret, size_t size)
{
    bool is_named = skip(&seen, "the picture ") || skip(&seen, "the file ");
    int n;

    seen = without_setting(seen);
    if (span_ends(seen, "."))
        seen.len--;
    n = snprintf(ret, size, "%s%s%.*s.", is_named ? thing : "", is_named ? " " : "", (int)seen.len, seen.ptr);
    if (n <= 0 || (size_t)n >= size)
        return false;
    ret[0] = (char)toupper((unsigned char)ret[0]);
    return true;
}

const char *job_error_detail(enum err_code rc, const char *message, char ret[JOB_DETAIL_SIZE])
{
    struct span seen = span_of(message);
    bool of_photo = skip(&seen, "original: ");
    const char *thing = of_photo ? "The photo" : "The mask";
    int n = 0;

    if (!has_detail(rc) || (!of_photo && !skip(&seen, "mask: ")))
        return NULL;
    if (rc != ERR_UNSUPPORTED)
        n = snprintf(ret, JOB_DETAIL_SIZE, "%s ", job_error_info(job_error_of(rc))->sentence);
    if (n >= 0 && n < JOB_DETAIL_SIZE && is_for_people(message, seen) &&
        write_sentence(seen, thing, ret + n, (size_t)(JOB_DETAIL_SIZE - n)))
        return ret;
    if (rc != ERR_UNSUPPORTED)
        return NULL;
    (void)snprintf(ret, JOB_DETAIL_SIZE,
                   "%s is of a kind that cannot be edited. Please save it as an ordinary JPEG and "
                   "upload it again.",
                   thing);
    return ret;
}
