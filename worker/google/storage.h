/*
 * storage - objects of one bucket: look, get, put, delete; always one known generation (PROTOCOL.md 5).
 *
 * Facts that are easy to get wrong: numbers arrive as strings; errors of a media download are plain text; an object
 * with contentEncoding gzip is decompressed on the way, so neither length nor checksum fits; a caller without the right
 * to list gets 403 instead of 404; some emulators ignore preconditions, generations and ranges.
 *
 * All calls retry inside the budget (table of PROTOCOL.md 7), refresh a refused token once, and answer:
 *
 *   ERR_NOT_FOUND        no such object
 *   ERR_CONFLICT         put, delete: another generation is there
 *   ERR_TOO_LARGE        get: larger than the caller takes
 *   ERR_UNSUPPORTED      get: the object has a contentEncoding
 *   ERR_UNKNOWN_OUTCOME  put, delete: sent, no answer, and the tries are used up
 *   ERR_UNAVAILABLE      transient, and the tries are used up
 *   ERR_PROTOCOL         the answers are nonsense, or the bytes never fit their length and checksum
 *   ERR_DENIED           401 after a fresh token, or 403
 *   ERR_INVALID          the name, or a bug of ours
 *   ERR_DEADLINE, ERR_CANCELLED, ERR_NOMEM
 */
#ifndef WORKER_GOOGLE_STORAGE_H
#define WORKER_GOOGLE_STORAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"
#include "worker/base/crypto.h"
#include "worker/google/gauth.h"
#include "worker/http/http_client.h"

enum {
    STORAGE_NAME_MAX = 1024,
    STORAGE_MULTIPART_MAX = 8 << 20, /* larger uploads are resumable */
    STORAGE_GET_MAX = 512 << 20,
    STORAGE_PUT_MAX = 512 << 20
};

struct storage {
    struct http *http;
    struct gauth *gauth;
    const struct sys *sys;
    const char *base;   /* "https://storage.googleapis.com", or the emulator's; no slash at the end */
    const char *bucket; /* percent-encoded */
    bool emulator;      /* plain http is allowed; no checksums or generations may come back */
};

/* 3 to 222 of [a-z0-9._-]. */
bool storage_bucket_is_valid(const char *name);

/* storage_host: STORAGE_EMULATOR_HOST (URL or host:port), firebase_host: FIREBASE_STORAGE_EMULATOR_HOST (host:port).
 * The first wins; NULL or "": not set. Texts live in `a` (the process arena). ERR_INVALID. */
MUST_CHECK enum err_code storage_init(struct storage *s, struct http *http, struct gauth *gauth, const struct sys *sys,
                                      const char *bucket, const char *storage_host, const char *firebase_host,
                                      struct arena *a, struct err *err);

struct storage_object {
    int64_t generation; /* > 0 */
    int64_t size_bytes;
    const char *content_type, *content_encoding, *job_id; /* "" when absent; job_id: custom metadata `jobId` */
    bool has_crc32c, has_md5;
    uint32_t crc32c;
    unsigned char md5[CRYPTO_MD5_BYTES];
    bool replaced; /* of storage_get(): another generation was there when it began */
};

MUST_CHECK enum err_code storage_stat(const struct storage *s, const char *object, const struct budget *budget,
                                      struct arena *a, struct storage_object *ret, struct err *err);

/* Metadata, then the bytes of that very generation into the arena, checked against length and checksum.
 * Takes up to twice the size of the object from the arena. ret_object may be NULL. */
MUST_CHECK enum err_code storage_get(const struct storage *s, const char *object, size_t max_bytes,
                                     const struct budget *budget, struct arena *a, struct span *ret_body,
                                     struct storage_object *ret_object, struct err *err);

struct storage_put {
    const char *object, *content_type;
    const char *cache_control; /* NULL: none */
    const char *job_id;        /* custom metadata `jobId`; NULL: none */
    struct span body;
    int64_t if_generation; /* 0: only if there is no such object; else only over this one */
};

/*
 * Safe to send again: an answer "another generation is there" is success when what is there has our length and CRC32C.
 * Then ret->job_id says whose it is: delete it only when it is your own. ret, which may be NULL, is what the bucket
 * has now.
 */
MUST_CHECK enum err_code storage_put(const struct storage *s, const struct storage_put *put,
                                     const struct budget *budget, struct arena *a, struct storage_object *ret,
                                     struct err *err);

/* Only this generation. An object that is gone already is success. */
MUST_CHECK enum err_code storage_delete(const struct storage *s, const char *object, int64_t generation,
                                        const struct budget *budget, struct arena *a, struct err *err);

#endif
