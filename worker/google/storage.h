/*
 * storage - objects of one bucket: stat, get, put, delete; always one known generation (PROTOCOL.md 5).
 *
 * Facts that are easy to get wrong: numbers arrive as strings; errors of a media download are plain text; an object
 * with contentEncoding gzip is decompressed in transit unless the caller accepts gzip, so that neither its length nor
 * its checksum matches; an upload replaces all metadata; a 404 may be about the bucket, which only its text says; a
 * caller who may not list objects gets 403 instead of 404; some emulators ignore preconditions, generations and ranges.
 *
 * All calls retry inside the budget (table of PROTOCOL.md 7), refresh a refused token once, and return:
 *
 *   ERR_NOT_FOUND        no such object, in a bucket that is there
 *   ERR_CONFLICT         put, delete: the bucket has another generation
 *   ERR_TOO_LARGE        get: the object is larger than max_bytes, stored or unpacked
 *   ERR_UNSUPPORTED      get: the object has a contentEncoding other than gzip
 *   ERR_CORRUPT          get: what is stored with gzip cannot be unpacked
 *   ERR_UNKNOWN_OUTCOME  put, delete: sent, no answer, and the tries are used up
 *   ERR_UNAVAILABLE      transient, and the tries are used up; or there is no such bucket
 *   ERR_PROTOCOL         an answer cannot be understood, or the bytes never match their length and checksum
 *   ERR_DENIED           401 after a fresh token, or 403
 *   ERR_INVALID          not a name, or a bug of ours
 *   ERR_DEADLINE, ERR_CANCELLED, ERR_NOMEM
 */
#ifndef WORKER_GOOGLE_STORAGE_H
#define WORKER_GOOGLE_STORAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/span.h"
#include "worker/base/config.h"
#include "worker/base/crypto.h"
#include "worker/google/gauth.h"
#include "worker/http/http_client.h"

enum {
    STORAGE_NAME_MAX = 1024,
    STORAGE_MULTIPART_MAX = 8 << 20, /* larger uploads are resumable */
    STORAGE_GET_MAX = 512 << 20,
    STORAGE_PUT_MAX = 512 << 20
};

struct json;

struct storage {
    struct http *http;
    struct gauth *gauth;
    const struct sys *sys;
    const char *base;   /* "https://storage.googleapis.com", or the emulator's; no slash at the end */
    const char *bucket; /* needs no percent-encoding; NULL until it is known, and no call may be made */
    enum download_tokens tokens;
    bool emulator;             /* plain http is allowed; answers may lack checksums and generations */
    _Atomic bool *bucket_seen; /* an answer since the start says that it is there, and none since then that it is not */
};

struct storage_options { /* all borrowed; texts may be NULL or "" for "not set" */
    struct http *http;
    struct gauth *gauth;
    const struct sys *sys;
    const char *bucket;                 /* not set: the caller finds it out and sets it before the first call */
    const char *emulator_host;          /* STORAGE_EMULATOR_HOST, URL or host:port */
    const char *firebase_emulator_host; /* FIREBASE_STORAGE_EMULATOR_HOST, host:port; used when the other is not set */
    enum download_tokens tokens;        /* DOWNLOAD_TOKENS */
};

/* Texts live in `a` (the process arena). ERR_INVALID: the bucket's name or the emulator's address. */
MUST_CHECK enum err_code storage_init(struct storage *s, const struct storage_options *options, struct arena *a,
                                      struct err *err);

struct storage_object {
    int64_t generation;     /* > 0 */
    int64_t metageneration; /* counts changes of this generation's metadata; 0: not stated */
    int64_t size_bytes;
    const char *content_type, *content_encoding, *job_id; /* "" when absent; job_id: custom metadata `jobId` */
    const char *cache_control, *content_disposition, *content_language;
    const struct json *metadata; /* custom metadata as it came; NULL when absent */
    bool has_crc32c, has_md5;
    uint32_t crc32c;
    unsigned char md5[CRYPTO_MD5_BYTES];
};

MUST_CHECK enum err_code storage_stat(const struct storage *s, const char *object, const struct budget *budget,
                                      struct arena *a, struct storage_object *ret, struct err *err);

struct storage_download {
    struct storage_object object;
    struct span body; /* unpacked */
    bool replaced;    /* the object was replaced by this generation while it was being read */
};

/* Reads the metadata, then the bytes of that generation into the arena, checks length and checksum, and unpacks what is
 * stored with gzip. Takes up to twice the size of the object from the arena, and what it unpacks to. */
MUST_CHECK enum err_code storage_get(const struct storage *s, const char *object, size_t max_bytes,
                                     const struct budget *budget, struct arena *a, struct storage_download *ret,
                                     struct err *err);

struct storage_put {
    const char *object, *content_type;
    const char *cache_control; /* NULL: none */
    const char *job_id;        /* custom metadata `jobId`; NULL: none */
    struct span body;
    int64_t if_generation; /* 0: write only if there is no such object; else replace only this generation */
    /* The object of that generation: its custom metadata, its download tokens as DOWNLOAD_TOKENS says, its
     * cacheControl, contentDisposition and contentLanguage stay. NULL: there is none. */
    const struct storage_object *replaces;
    int *ret_dropped; /* how many entries of its metadata could not be kept; NULL: nobody asks */
};

/*
 * Safe to send again: when the answer is "another generation is there", that counts as success if the object there has
 * our length and CRC32C. ret->job_id then says whose it is: delete it only if it is your own. ret, which may be NULL,
 * is the object that the bucket has now.
 */
MUST_CHECK enum err_code storage_put(const struct storage *s, const struct storage_put *put,
                                     const struct budget *budget, struct arena *a, struct storage_object *ret,
                                     struct err *err);

/* Deletes this generation only. Also succeeds when there is no such object any more. */
MUST_CHECK enum err_code storage_delete(const struct storage *s, const char *object, int64_t generation,
                                        const struct budget *budget, struct arena *a, struct err *err);

/* --- how the API writes values, for whoever asks it for something else --- */

/* A number is a string; a JSON number is accepted, too. false: it is neither, or negative. */
bool storage_read_number(const struct json *v, int64_t *ret);
/* A CRC32C is its four bytes in base64, the most significant byte first. */
bool storage_read_crc32c(struct span base64, uint32_t *ret);
/* Whether the answer to a download says that it has another generation. */
bool storage_is_another_generation(const struct http_reply *reply, int64_t generation);

#endif
