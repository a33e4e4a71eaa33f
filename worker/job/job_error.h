/*
 * job_error - the one table that turns an error into what the outside sees: the stable code in the session document,
 * the outcome of the push, whether a retry can help, and a sentence for people. Source: PROTOCOL.md 13, 1.9.
 */
#ifndef WORKER_JOB_JOB_ERROR_H
#define WORKER_JOB_JOB_ERROR_H

#include <stdbool.h>

#include "kernels/base/err.h"
#include "worker/job/outcome.h"

/* clang-format off */
#define JOB_ERROR_MAP(X)                                                                                          \
    /*  code                  outcome       retryable  sentence */                                                \
    X(INPUT_MISSING,          FAILED,       true,                                                                 \
      "The photo or its mask could not be found. Please upload it again.")                                        \
    X(INPUT_NOT_AN_IMAGE,     FAILED,       false,                                                                \
      "The file is not a JPEG, PNG or WebP picture.")                                                                   \
    X(INPUT_HEIC_UNSUPPORTED, FAILED,       false,                                                                \
      "HEIC pictures cannot be edited yet. Please upload the photo as JPEG.")                                     \
    X(INPUT_TOO_LARGE,        FAILED,       false,                                                                \
      "The picture is too large to be edited.")                                                                   \
    X(INPUT_CORRUPT,          FAILED,       false,                                                                \
      "The picture file is damaged. Please upload it again.")                                                     \
    X(MASK_EMPTY,             FAILED,       false,                                                                \
      "Nothing is marked for removal.")                                                                           \
    X(MASK_FULL,              FAILED,       false,                                                                \
      "The whole picture is marked for removal.")                                                                 \
    X(MASK_TOO_LARGE,         FAILED,       false,                                                                \
      "Too much of the picture is marked for removal. Please mark less of it.")                                   \
    X(MASK_AMBIGUOUS,         FAILED,       false,                                                                \
      "It is not clear what is marked for removal. Please mark it again.")                                        \
    X(MASK_SIZE_MISMATCH,     FAILED,       false,                                                                \
      "The mask does not belong to this photo.")                                                                  \
    X(PROMPT_INVALID,         FAILED,       false,                                                                \
      "The description of the edit cannot be used.")                                                              \
    X(SESSION_UNREADABLE,     UNREADABLE,   false,                                                                \
      "The description of this edit cannot be read. Please start a new edit.")                                    \
    X(ATTEMPTS_EXHAUSTED,     EXHAUSTED,    true,                                                                 \
      "The edit failed several times. Please try again later.")                                                   \
    X(DEADLINE,               RELEASED,     true,                                                                 \
      "The edit took too long. Please try again later.")                                                          \
    X(NUMERIC_FAULT,          FAILED,       true,                                                                 \
      "The edit could not be computed. Please try again.")                                                        \
    X(GPU_FAULT,              DEVICE_FAULT, true,                                                                 \
      "The edit was interrupted. Please try again later.")                                                        \
    X(OUT_OF_MEMORY,          RELEASED,     true,                                                                 \
      "The edit was interrupted. Please try again later.")                                                        \
    X(BACKEND_UNAVAILABLE,    RELEASED,     true,                                                                 \
      "The service is busy. Please try again later.")                                                             \
    X(INTERNAL,               OUR_ERROR,    true,                                                                 \
      "Something went wrong on our side. Please try again later.")
/* clang-format on */

enum job_error {
#define X(code, outcome, retryable, sentence) JOB_##code,
    JOB_ERROR_MAP(X)
#undef X
        JOB_ERROR_COUNT
};

struct job_error_info {
    const char *code;     /* as written to inpaint.errorCode */
    enum outcome outcome; /* FAILED: the same input fails again, so `failed` is written. Else the claim is given back */
    bool retryable;
    const char *sentence;
};

const struct job_error_info *job_error_info(enum job_error e);

/* The error that a code stands for, whichever stage of the job returned it. */
enum job_error job_error_of(enum err_code rc);

enum { JOB_DETAIL_SIZE = 301 }; /* bytes, with the NUL */

/*
 * What people can be told about a picture beyond the sentence of its error; NULL: nothing. `message` is that of the
 * error. It is used where it begins with "original: " or "mask: ", and goes on with what was seen, about "the picture"
 * or "the file", in words that need no knowledge of this program:
 *
 *   ERR_TOO_LARGE, ERR_MASK_…   the sentence of the error, and it as a second one
 *   ERR_UNSUPPORTED             it alone, because the file is not damaged; if it is not for people, that the kind is
 *                               not supported
 *
 * Not for people: a message that begins with the name of a module, as in "jpeg: ", that was cut for its length, or that
 * is not ASCII. The name of a setting in brackets at its end is left out.
 */
const char *job_error_detail(enum err_code rc, const char *message, char ret[JOB_DETAIL_SIZE]);

#endif
