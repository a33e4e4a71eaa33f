/*
 * job_error - the one table that turns an error into what the outside sees: the stable code in the session document,
 * the answer to Pub/Sub, whether asking again can help, and a sentence for people.
 * Source: PROTOCOL.md 13, 1.9.
 */
#ifndef WORKER_JOB_JOB_ERROR_H
#define WORKER_JOB_JOB_ERROR_H

#include <stdbool.h>

#include "kernels/base/err.h"

enum job_error_class {
    JOB_ERROR_FINAL,     /* the same input fails again: write `failed`, then ack */
    JOB_ERROR_TRANSIENT, /* give the claim back and nack */
    JOB_ERROR_FAULT      /* as TRANSIENT, and the process must be replaced */
};

/* clang-format off */
#define JOB_ERROR_MAP(X)                                                                                          \
    /*  code                     class                 http  retryable  sentence */                               \
    X(INPUT_MISSING,             JOB_ERROR_FINAL,      204,  true,                                                \
      "The photo or its mask could not be found. Please upload it again.")                                        \
    X(INPUT_NOT_AN_IMAGE,        JOB_ERROR_FINAL,      204,  false,                                               \
      "The file is not a JPEG or PNG picture.")                                                                   \
    X(INPUT_HEIC_UNSUPPORTED,    JOB_ERROR_FINAL,      204,  false,                                               \
      "HEIC pictures cannot be edited yet. Please upload the photo as JPEG.")                                     \
    X(INPUT_TOO_LARGE,           JOB_ERROR_FINAL,      204,  false,                                               \
      "The picture is too large to be edited.")                                                                   \
    X(INPUT_CORRUPT,             JOB_ERROR_FINAL,      204,  false,                                               \
      "The picture file is damaged. Please upload it again.")                                                     \
    X(MASK_EMPTY,                JOB_ERROR_FINAL,      204,  false,                                               \
      "Nothing is marked for removal.")                                                                           \
    X(MASK_FULL,                 JOB_ERROR_FINAL,      204,  false,                                               \
      "The whole picture is marked for removal.")                                                                 \
    X(MASK_SIZE_MISMATCH,        JOB_ERROR_FINAL,      204,  false,                                               \
      "The mask does not belong to this photo.")                                                                  \
    X(PROMPT_INVALID,            JOB_ERROR_FINAL,      204,  false,                                               \
      "The description of the edit cannot be used.")                                                              \
    X(ATTEMPTS_EXHAUSTED,        JOB_ERROR_FINAL,      204,  true,                                                \
      "The edit failed several times. Please try again later.")                                                   \
    X(DEADLINE,                  JOB_ERROR_TRANSIENT,  503,  true,                                                \
      "The edit took too long. Please try again later.")                                                          \
    X(NUMERIC_FAULT,             JOB_ERROR_FINAL,      204,  true,                                                \
      "The edit could not be computed. Please try again.")                                                        \
    X(GPU_FAULT,                 JOB_ERROR_FAULT,      500,  true,                                                \
      "The edit was interrupted. Please try again later.")                                                        \
    X(OUT_OF_MEMORY,             JOB_ERROR_TRANSIENT,  503,  true,                                                \
      "The edit was interrupted. Please try again later.")                                                        \
    X(BACKEND_UNAVAILABLE,       JOB_ERROR_TRANSIENT,  503,  true,                                                \
      "The service is busy. Please try again later.")                                                             \
    X(INTERNAL,                  JOB_ERROR_TRANSIENT,  500,  true,                                                \
      "Something went wrong on our side. Please try again later.")
/* clang-format on */

enum job_error {
#define X(code, class, http, retryable, sentence) JOB_##code,
    JOB_ERROR_MAP(X)
#undef X
        JOB_ERROR_COUNT
};

struct job_error_info {
    const char *code; /* as written to inpaint.errorCode */
    enum job_error_class class;
    int http_status;
    bool retryable;
    const char *sentence;
};

const struct job_error_info *job_error_info(enum job_error e);

/* What a failed stage means. Codes that name no input problem are the same in every stage; a broken picture is told
 * apart by its own codes, so a stage is not needed. */
enum job_error job_error_of(enum err_code rc);

#endif
