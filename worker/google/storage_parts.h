/*
 * storage_parts - shared by the files of storage; no other file includes it.
 */
#ifndef WORKER_GOOGLE_STORAGE_PARTS_H
#define WORKER_GOOGLE_STORAGE_PARTS_H

#include "worker/google/api.h"
#include "worker/google/storage.h"

enum { STORAGE_META_REPLY_MAX = 256 << 10, STORAGE_LOW_SPEED_MS = 15000 };

extern const char storage_meta_fields[]; /* the query that asks for what storage_read_object reads */

/* Percent-encodes the name; makes the URL of the object, without a query. ERR_INVALID: not a name (PROTOCOL.md 5.1). */
MUST_CHECK enum err_code storage_encode_name(const char *object, struct arena *a, char **ret, struct err *err);
MUST_CHECK enum err_code storage_object_url(const struct storage *s, const char *object, struct arena *a, char **ret,
                                            struct err *err);

/* A call judged by api_judge, for requests that may be sent again whatever happened to the first try: reads, and
 * writes under a generation. */
struct api_call storage_api(const struct storage *s, const struct retry_policy *policy, const struct budget *budget);

/*
 * For a 404. ERR_NOT_FOUND: the object is missing, and its bucket is there as far as anybody says. ERR_UNAVAILABLE: the
 * bucket is missing, which is no fault of the object's owner. Where the answer does not say which, the bucket is asked
 * for, unless it has been seen since the start.
 */
struct storage_call {
    const char *what, *object;
    const struct budget *budget;
};
MUST_CHECK enum err_code storage_absence(const struct storage *s, const struct storage_call *call,
                                         const struct http_reply *reply, struct arena *a, struct err *err);
/* For the 404 of an upload: records and returns ERR_UNAVAILABLE. */
enum err_code storage_no_bucket(const struct storage *s, struct err *err);

enum storage_access { STORAGE_READS, STORAGE_WRITES };

/* Both record an error about `object` and return its code: the first for an answer that is not a success, the second
 * for a transport failure without a whole answer. */
enum err_code storage_refusal(const char *what, const char *object, const struct http_reply *reply, struct err *err);
enum err_code storage_broken(const char *what, const char *object, enum storage_access access, const struct err *why,
                             struct err *err);

/* Reads the resource of an object, which must carry that name. */
MUST_CHECK enum err_code storage_read_object(const char *object, struct span body, struct arena *a,
                                             struct storage_object *ret, struct err *err);

/* The resource of an object to be uploaded, with the metadata of the one that it replaces. */
struct storage_resource {
    char *json;
    int dropped; /* entries of the replaced object that could not be kept */
};
MUST_CHECK enum err_code storage_write_object(const struct storage *s, const struct storage_put *put, uint32_t crc,
                                              struct arena *a, struct storage_resource *ret, struct err *err);

/* How often an object of this contentEncoding is packed with gzip. ERR_UNSUPPORTED: otherwise, or too often. */
MUST_CHECK enum err_code storage_packings(const char *object, const char *encoding, int *ret, struct err *err);
/* Unpacks *body that often, into the arena. ERR_TOO_LARGE, ERR_CORRUPT, ERR_NOMEM. */
MUST_CHECK enum err_code storage_unpack(const char *object, int packings, size_t max_bytes, struct arena *a,
                                        struct span *body, struct err *err);

bool storage_read_digest(struct span base64, void *bytes, size_t want);
bool storage_has_md5(struct span body, const unsigned char want[CRYPTO_MD5_BYTES]);

#endif
