/*
 * storage_scene - one object of a bucket behind scripted answers, for the tests of storage. NAME is the object, PATH
 * its URL without a query, META and HELLO its resource with a size, and with the five bytes "hello".
 */
#ifndef TEST_SUPPORT_FAKE_STORAGE_SCENE_H
#define TEST_SUPPORT_FAKE_STORAGE_SCENE_H

#include "test/support/fake/script.h"
#include "worker/google/storage.h"

#define NAME "users/u1/sessions/s1/a b+\xc3\xa9.jpg"
#define PATH                                                \
    "http://127.0.0.1:9199/storage/v1/b/demo.appspot.com/o" \
    "/users%2Fu1%2Fsessions%2Fs1%2Fa%20b%2B%C3%A9.jpg"
#define META(size, more) "{\"name\":\"" NAME "\",\"generation\":\"7\",\"size\":\"" size "\"" more "}"
#define HELLO            META("5", ",\"crc32c\":\"mnG7TA==\",\"md5Hash\":\"XUFAKrxLKna5cZ2REBfFkg==\"")

struct storage_scene {
    struct script script;
    struct gauth *gauth;
    struct storage storage;
    struct arena arena;
    struct err err;
    struct storage_object object;
    struct storage_download got;
};

extern struct storage_scene scene;

void scene_start(void);
void scene_stop(void);
enum err_code scene_init(const char *bucket, const char *host, const char *firebase_host, struct err *err);

void scene_will(int status, const char *body);
void scene_will_with(int status, const char *body, const char *name, const char *value);

enum err_code scene_get(size_t max);
enum err_code scene_put_bytes(struct span bytes, int64_t if_generation);
enum err_code scene_put(void); /* "hello", where there is nothing yet */

#endif
