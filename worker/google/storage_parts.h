/*
 * storage_parts - shared by storage.c, storage_get.c and storage_put.c; no other file includes it.
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

/* A call judged by storage_judge, for requests that may be sent again whatever happened to the first try: reads, and
 * writes under a generation. */
struct api_call storage_api(const struct storage *s, const struct retry_policy *policy, const struct budget *budget);
enum api_next storage_judge(void *ctx, enum err_code rc, const struct http_reply *reply);
bool storage_may_pass(enum err_code rc, const struct http_reply *reply); /* the failure is transient */

enum storage_access { STORAGE_READS, STORAGE_WRITES };

/* Both record an error about `object` and return its code: the first for an answer that is not a success, the second
 * for a transport failure without a whole answer. */
enum err_code storage_refusal(const char *what, const char *object, const struct http_reply *reply, struct err *err);
enum err_code storage_broken(const char *what, const char *object, enum storage_access access, const struct err *why,
                             struct err *err);

/* Reads the resource of an object, which must carry that name. */
MUST_CHECK enum err_code storage_read_object(const char *object, struct span body, struct arena *a,
                                             struct storage_object *ret, struct err *err);

bool storage_read_digest(struct span base64, void *bytes, size_t want);
bool storage_read_crc32c(struct span base64, uint32_t *ret);
bool storage_has_md5(struct span body, const unsigned char want[CRYPTO_MD5_BYTES]);

#endif
