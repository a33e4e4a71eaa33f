#include <stdio.h>
#include <string.h>

#include "test/support/check.h"
#include "worker/job/job_error.h"

TEST(job_error__keeps_the_stable_codes_and_acks_what_cannot_get_better)
{
    CHECK_STR(job_error_info(JOB_INPUT_HEIC_UNSUPPORTED)->code, "INPUT_HEIC_UNSUPPORTED");
    for (int e = 0; e < JOB_ERROR_COUNT; e++) {
        const struct job_error_info *info = job_error_info((enum job_error)e);
        CHECK(info->code[0] && info->sentence[0]);
        CHECK((info->outcome == OUTCOME_FAILED || info->outcome == OUTCOME_EXHAUSTED ||
               info->outcome == OUTCOME_UNREADABLE) ==
              (outcome_info(info->outcome)->http_status == 204));
    }
}

TEST(job_error__gives_every_failure_a_meaning)
{
    CHECK_INT(job_error_of(ERR_HEIC), JOB_INPUT_HEIC_UNSUPPORTED);
    CHECK_INT(job_error_of(ERR_GPU), JOB_GPU_FAULT);
    CHECK_INT(job_error_of(ERR_UNAVAILABLE), JOB_BACKEND_UNAVAILABLE);
    CHECK_INT(job_error_of(ERR_INTERNAL), JOB_INTERNAL);
    CHECK_INT(job_error_of((enum err_code)999), JOB_INTERNAL);
}

TEST(job_error__tells_people_what_was_seen_in_a_picture)
{
    static const struct { enum err_code rc; const char *message, *want; } cases[] = {
        { ERR_TOO_LARGE, "original: the picture has 12000 x 11000 pixels, 132 megapixels; at most 120 megapixels are accepted (MAX_PIXELS)",
          "The picture is too large to be edited. The photo has 12000 x 11000 pixels, 132 megapixels; at most 120 megapixels are accepted." },
        { ERR_TOO_LARGE, "mask: the file has 70.1 MiB; at most 64 MiB are accepted",
          "The picture is too large to be edited. The mask has 70.1 MiB; at most 64 MiB are accepted." },
        { ERR_UNSUPPORTED, "original: the picture is a lossless JPEG file, which cannot be edited", "The photo is a lossless JPEG file, which cannot be edited." },
        { ERR_UNSUPPORTED, "mask: jpeg: Unsupported color conversion request",
          "The mask is of a kind that cannot be edited. Please save it as an ordinary JPEG and upload it again." },
        { ERR_UNSUPPORTED, "original: ", "The photo is of a kind that cannot be edited. Please save it as an ordinary JPEG and upload it again." },
        { ERR_MASK_AMBIGUOUS, "mask: three colours are in it, and none is white.",
          "It is not clear what is marked for removal. Please mark it again. Three colours are in it, and none is white." },
        { ERR_MASK_EMPTY, "mask: all marks are smaller than 16 pixels", "Nothing is marked for removal. All marks are smaller than 16 pixels." },
        { ERR_MASK_LARGE, "mask: 71 % of the photo are marked; at most 60 % are accepted (MASK_MAX_SHARE)",
          "Too much of the picture is marked for removal. Please mark less of it. 71 % of the photo are marked; at most 60 % are accepted." },
        { ERR_TOO_LARGE, "original: jpeg: the file has more than 100 scans", NULL },
        { ERR_TOO_LARGE, "storage: the object has 80000000 bytes", NULL },
        { ERR_TOO_LARGE, "original: caf\xc3\xa9", NULL },
        { ERR_TOO_LARGE, "", NULL },
        { ERR_TOO_LARGE, NULL, NULL },
        { ERR_CORRUPT, "original: the last 40 of 80 rows of the picture are missing", NULL },
        { ERR_MASK_FULL, "mask: every pixel is marked", "The whole picture is marked for removal. Every pixel is marked." },
        { ERR_MASK_SIZE, "mask: the mask has 600 x 400 pixels and the photo 400 x 600, so that their shapes differ",
          "The mask does not belong to this photo. The mask has 600 x 400 pixels and the photo 400 x 600, so that their shapes differ." },
        { ERR_NOMEM, "original: the picture", NULL },
    };
    char text[JOB_DETAIL_SIZE];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = job_error_detail(cases[i].rc, cases[i].message, text);

        if (!got != !cases[i].want || (got && strcmp(got, cases[i].want) != 0))
            test_fail(__FILE__, __LINE__, "case %zu: %s", i, got ? got : "nothing");
    }
}

/* Messages up to their greatest length: a sentence that does not fit is left out, and never cut. */
TEST(job_error__never_cuts_a_sentence)
{
    static const enum err_code codes[] = { ERR_TOO_LARGE, ERR_UNSUPPORTED, ERR_MASK_EMPTY, ERR_MASK_FULL, ERR_MASK_LARGE, ERR_MASK_AMBIGUOUS, ERR_MASK_SIZE };
    char message[2 * ERR_MESSAGE_MAX], text[JOB_DETAIL_SIZE];

    for (size_t c = 0; c < sizeof codes / sizeof *codes; c++)
        for (size_t n = 0; n < sizeof message - 8; n++) {
            struct err err = { 0 };
            const char *got;

            memcpy(message, "mask: ", 6);
            memset(message + 6, 'x', n);
            message[6 + n] = 0;
            (void)err_set(&err, codes[c], "%s", message);
            got = job_error_detail(codes[c], err.msg, text);
            if (!got)
                continue;
            CHECK(strlen(got) <= 300 && got[strlen(got) - 1] == '.');
            CHECK(n < ERR_MESSAGE_MAX || !strstr(got, "xxx"));
        }
}
