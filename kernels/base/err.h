/*
 * err - an error is a value: a code to act on and a message to read.
 *
 * A function that can fail returns enum err_code and takes `struct err *err` last. The caller owns the
 * struct and zeroes it; the first error wins, so clean-up code cannot hide the cause. `err` may be NULL.
 * Messages are for engineers (logs, stderr). They name the thing that is wrong and never hold a secret. They are one
 * line: control characters, which may come in with a quoted name, are shown as '?'.
 */
#ifndef KERNELS_BASE_ERR_H
#define KERNELS_BASE_ERR_H

#define ERR_MAP(X)                                                                                         \
    X(ERR_OK, "ok")                                                                                        \
    X(ERR_INVALID, "invalid")                 /* wrong argument or input: the same input fails again */    \
    X(ERR_CORRUPT, "corrupt")                 /* bytes that break their own format */                      \
    X(ERR_UNSUPPORTED, "unsupported")         /* well-formed, but not supported */                         \
    X(ERR_NOT_AN_IMAGE, "not-an-image")       /* neither JPEG nor PNG nor WebP */                          \
    X(ERR_HEIC, "heic")                       /* an HEIF picture: common on phones, not decoded here */    \
    X(ERR_MASK_EMPTY, "mask-empty")           /* the mask marks nothing */                                 \
    X(ERR_MASK_FULL, "mask-full")             /* the mask marks everything */                              \
    X(ERR_MASK_SIZE, "mask-size")             /* the mask belongs to another picture */                    \
    X(ERR_MASK_LARGE, "mask-large")           /* the mask marks more than may be painted */                \
    X(ERR_MASK_AMBIGUOUS, "mask-ambiguous")   /* what the mask marks cannot be told safely */              \
    X(ERR_PROMPT, "prompt")                   /* text that cannot be used as a prompt */                   \
    X(ERR_TOO_LARGE, "too-large")             /* over a named maximum */                                   \
    X(ERR_NOT_FOUND, "not-found")             /* file, tensor, object, document */                         \
    X(ERR_CONFLICT, "conflict")               /* a precondition did not hold: another writer came first */ \
    X(ERR_DENIED, "denied")                   /* credentials refused */                                    \
    X(ERR_UNAVAILABLE, "unavailable")         /* a peer or device is absent, down, slow or throttling */   \
    X(ERR_UNKNOWN_OUTCOME, "unknown-outcome") /* a write was sent and no answer came: re-read */           \
    X(ERR_PROTOCOL, "protocol")               /* a peer answered nonsense */                               \
    X(ERR_DEADLINE, "deadline")               /* the time limit has passed */                              \
    X(ERR_CANCELLED, "cancelled")             /* the caller asked to stop */                               \
    X(ERR_NOMEM, "nomem")                     /* host or device memory */                                  \
    X(ERR_GPU, "gpu")                         /* device fault: the process must be replaced */             \
    X(ERR_NUMERIC, "numeric")                 /* NaN or infinity in a result */                            \
    X(ERR_IO, "io")                           /* the operating system refused a file operation */          \
    X(ERR_INTERNAL, "internal")               /* our own bug */

enum err_code {
#define X(code, name) code,
    ERR_MAP(X)
#undef X
        ERR_COUNT
};

#define ERR_MESSAGE_MAX 480

struct err {
    enum err_code code;
    char msg[ERR_MESSAGE_MAX];
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* For a chain of steps with nothing to clean up: the first step that fails ends the function. */
#define TRY(call)                   \
    do {                            \
        enum err_code rc_ = (call); \
        if (rc_)                    \
            return rc_;             \
    } while (0)

/* Records code and message unless an error is recorded already. Returns `code`, for `return err_set(...)`. */
enum err_code err_set(struct err *err, enum err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* A static analyser does not see that err_set() returns `code`, and would follow paths on which it does not. */
#ifdef __clang_analyzer__
#define err_set(err, code, ...) ((void)(err_set)(err, code, __VA_ARGS__), (code))
#endif

/* Puts "what: " in front of the recorded message, and returns the recorded code. */
enum err_code err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *err_name(enum err_code code);

/* For the rare call whose failure changes nothing: shows that the error is ignored on purpose. */
static inline void err_ignore(enum err_code rc)
{
    (void)rc;
}

#endif
