#include "kernels/base/memory_file.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "models/file/file_map.h"
#include "test/support/check.h"

static struct err err;

static struct memory_file *added(const char *path, const char *text)
{
    struct memory_file *f = NULL;

    CHECK_OK(memory_file_add(path, (int64_t)strlen(text), &f, &err), err);
    CHECK_OK(memory_file_write(f, 0, text, strlen(text), &err), err);
    return f;
}

TEST(memory_file__is_opened_read_and_listed_as_a_file_of_a_disk_is)
{
    struct arena a = { 0 };
    struct span text;
    struct stat st;
    int fd = -1;

    CHECK_OK(arena_init(&a, 1 << 16, &err), err);
    (void)added("gs://b/m/ae.safetensors", "weights");
    (void)added("gs://b/m/tokenizer/vocab.json", "{}");
    CHECK_OK(file_read("gs://b/m/ae.safetensors", 7, &a, &text, &err), err);
    CHECK(span_is(text, "weights") && text.ptr[7] == 0);
    CHECK_OK(file_read("gs://b/m/ae.safetensors", 7, &a, &text, &err), err); /* again, from its beginning */
    CHECK(span_is(text, "weights"));
    CHECK_INT(file_read("gs://b/m/ae.safetensors", 6, &a, &text, NULL), ERR_TOO_LARGE);
    CHECK_INT(file_open("gs://b/m/absent", &fd, &st, NULL), ERR_NOT_FOUND);
    CHECK_INT(file_open("gs://b/m", &fd, &st, NULL), ERR_INVALID);
    CHECK(file_stat("gs://b/m/ae.safetensors", &st) && S_ISREG(st.st_mode) && st.st_size == 7);
    CHECK(file_is_named("gs://b/m/ae.safetensors") && !file_is_named("gs://b/m/ae"));
    CHECK(file_is_folder("gs://b/m") && file_is_folder("gs://b/m/") && file_is_folder("gs://b/m/tokenizer"));
    CHECK(!file_is_folder("gs://b/m/ae.safetensors") && !file_is_folder("gs://b/m/tok"));
    CHECK(file_folder_is_readable("gs://b/m") && !file_folder_is_readable("gs://b/n"));
    memory_files_remove();
    CHECK(!file_is_named("gs://b/m/ae.safetensors"));
    arena_done(&a);
}

static enum err_code append(void *ctx, const char *name, struct err *e)
{
    (void)e;
    (void)strcat(strcat(ctx, name), " ");
    return ERR_OK;
}

TEST(memory_file__a_folder_has_the_files_that_lie_directly_in_it)
{
    char names[200] = "";

    (void)added("gs://b/m/x.gguf", "1");
    (void)added("gs://b/m/vae/y.safetensors", "2");
    (void)added("gs://b/mm/z.gguf", "3");
    CHECK_OK(file_list("gs://b/m", append, names, &err), err);
    CHECK_STR(names, "x.gguf ");
    names[0] = 0;
    CHECK_OK(file_list("gs://b/m/", append, names, &err), err);
    CHECK_OK(file_list("gs://b/m/vae", append, names, &err), err);
    CHECK_STR(names, "x.gguf y.safetensors ");
    CHECK_INT(file_list("gs://b/m/unet", append, names, NULL), ERR_NOT_FOUND);
    memory_files_remove();
}

TEST(memory_file__what_has_not_arrived_is_not_read_as_zeros_unless_its_beginning_is_there)
{
    struct memory_file *f = NULL;
    struct arena a = { 0 };
    struct span map;
    struct stat st;
    int fd = -1;

    CHECK_OK(arena_init(&a, 1 << 16, &err), err);
    CHECK_OK(memory_file_add("gs://b/m/x.gguf", 100000, &f, &err), err);
    CHECK(file_stat("gs://b/m/x.gguf", &st) && st.st_size == 100000);
    CHECK_INT(file_open("gs://b/m/x.gguf", &fd, &st, &err), ERR_IO);
    CHECK(strstr(err.msg, "gs://b/m/x.gguf has not been fetched"));
    err = (struct err){ 0 };
    CHECK_OK(memory_file_write(f, 0, "GGUF", 4, &err), err);
    CHECK_OK(file_map_open("gs://b/m/x.gguf", &a, &map, &err), err);
    CHECK(map.len == 100000 && memcmp(map.ptr, "GGUF", 4) == 0 && map.ptr[99999] == 0);
    CHECK_OK(memory_file_write(f, 99996, "last", 4, &err), err);
    CHECK(memcmp(map.ptr + 99996, "last", 4) == 0); /* what is mapped sees what arrives, and is no changed file */
    CHECK_OK(file_map_check(&err), err);
    CHECK_INT(memory_file_write(f, 99997, "last", 4, NULL), ERR_INTERNAL);
    CHECK_INT(memory_file_write(f, -1, "last", 4, NULL), ERR_INTERNAL);
    arena_done(&a);
    memory_files_remove();
}

TEST(memory_file__an_empty_one_is_told_as_such)
{
    struct memory_file *f = NULL;
    struct arena a = { 0 };
    struct span map;

    CHECK_OK(arena_init(&a, 1 << 16, &err), err);
    CHECK_OK(memory_file_add("gs://b/m/x.gguf", 0, &f, &err), err);
    CHECK_INT(file_map_open("gs://b/m/x.gguf", &a, &map, &err), ERR_CORRUPT);
    CHECK(strstr(err.msg, "is empty"));
    arena_done(&a);
    memory_files_remove();
}

static int64_t blocks_of(const char *path)
{
    struct stat st, held;
    int64_t blocks;
    int fd = -1;

    CHECK_OK(file_open(path, &fd, &held, &err), err);
    CHECK(fstat(fd, &st) == 0);
    blocks = (int64_t)st.st_blocks * 512;
    (void)close(fd);
    return blocks;
}

TEST(memory_file__gives_back_whole_pages_of_what_is_dropped_and_nothing_before_it_is_told_to)
{
    enum { PAGE = 4096, PAGES = 8 };
    struct memory_file *f = NULL;
    struct arena a = { 0 };
    struct span map;
    char *bytes = malloc(PAGES * PAGE);

    CHECK(bytes);
    memset(bytes, 'x', PAGES * PAGE);
    CHECK_OK(arena_init(&a, 1 << 16, &err), err);
    CHECK_OK(memory_file_add("gs://b/m/x.gguf", PAGES * PAGE, &f, &err), err);
    CHECK_OK(memory_file_write(f, 0, bytes, PAGES * PAGE, &err), err);
    CHECK_OK(file_map_open("gs://b/m/x.gguf", &a, &map, &err), err);
    file_map_drop(map.ptr + PAGE - 1, 2 * PAGE);     /* with the two that follow: pages 1 to 5 whole */
    file_map_drop(map.ptr + 3 * PAGE - 1, 2 * PAGE); /* it begins where the one before ends */
    file_map_drop(map.ptr + 5 * PAGE - 1, PAGE + 1);
    file_map_drop(map.ptr + 7 * PAGE + 1, 5); /* no page */
    file_map_drop(&a, 5);                     /* no mapping */
    CHECK(map.ptr[2 * PAGE] == 'x');
    CHECK_INT(blocks_of("gs://b/m/x.gguf"), PAGES * PAGE);
    CHECK_INT(memory_files_free_dropped(), 5 * PAGE);
    CHECK_INT(blocks_of("gs://b/m/x.gguf"), 3 * PAGE);
    CHECK(map.ptr[PAGE - 1] == 'x' && map.ptr[PAGE] == 0 && map.ptr[6 * PAGE - 1] == 0 && map.ptr[6 * PAGE] == 'x');
    CHECK_INT(memory_files_free_dropped(), 0);
    arena_done(&a);
    memory_files_remove();
    free(bytes);
}

TEST(memory_file__paths_are_those_with_a_scheme_each_once)
{
    struct memory_file *f = NULL;

    CHECK(memory_file_is_path("gs://b/x") && memory_file_is_path("gs://b"));
    CHECK(!memory_file_is_path("/gs://b/x") && !memory_file_is_path("://b") && !memory_file_is_path("/models") &&
          !memory_file_is_path("gs:/b"));
    CHECK_INT(memory_file_add("/models/x", 1, &f, NULL), ERR_INVALID);
    CHECK_INT(memory_file_add("gs://b/x/", 1, &f, NULL), ERR_INVALID);
    CHECK_INT(memory_file_add("gs://b/x", -1, &f, NULL), ERR_INVALID);
    CHECK_OK(memory_file_add("gs://b/x", 1, &f, &err), err);
    CHECK_INT(memory_file_add("gs://b/x", 1, &f, NULL), ERR_INVALID);
    memory_files_remove();
}

TEST(memory_file__there_is_a_limit_of_files)
{
    struct memory_file *f = NULL;
    char path[40];

    for (int i = 0; i < MEMORY_FILES_MAX; i++) {
        (void)snprintf(path, sizeof path, "gs://b/%d", i);
        CHECK_OK(memory_file_add(path, 1, &f, &err), err);
    }
    CHECK_INT(memory_file_add("gs://b/more", 1, &f, NULL), ERR_TOO_LARGE);
    memory_files_remove();
    CHECK_OK(memory_file_add("gs://b/more", 1, &f, &err), err);
    memory_files_remove();
}

/* Somebody who wants bytes 10 to 30 of a file. */
struct waiter {
    pthread_t thread;
    const char *mapped; /* the file's first byte */
    enum err_code rc;
    struct err err;
    atomic_bool done;
};

static void *wait_for_bytes(void *arg)
{
    struct waiter *w = arg;

    w->rc = file_map_wait(w->mapped + 10, 20, &w->err);
    w->done = true;
    return NULL;
}

static void begin_waiting(struct waiter *w, const char *mapped)
{
    *w = (struct waiter){ .mapped = mapped };
    CHECK(pthread_create(&w->thread, NULL, wait_for_bytes, w) == 0);
}

/* An arriving file of 100 bytes, of which the first has been written. */
static struct memory_file *arriving(struct arena *a, struct span *map)
{
    struct memory_file *f = NULL;

    CHECK_OK(arena_init(a, 1 << 16, &err), err);
    CHECK_OK(memory_file_add("gs://b/m/x.gguf", 100, &f, &err), err);
    CHECK_OK(memory_file_write(f, 0, "G", 1, &err), err);
    CHECK_OK(file_map_open("gs://b/m/x.gguf", a, map, &err), err);
    CHECK(!memory_files_arriving());
    CHECK_OK(file_map_wait(map->ptr, 100, &err), err); /* nothing was promised: nobody waits */
    memory_file_begin(f);
    CHECK(memory_files_arriving());
    return f;
}

TEST(memory_file__whoever_wants_bytes_waits_until_all_of_them_have_arrived)
{
    enum { SOME_US = 30000 };
    struct waiter w;
    struct arena a = { 0 };
    struct span map;
    struct memory_file *f = arriving(&a, &map);
    static const char here = 'x';

    begin_waiting(&w, map.ptr);
    memory_file_arrived(f, 0, 15);
    memory_file_arrived(f, 20, 40);
    (void)usleep(SOME_US);
    CHECK(!w.done); /* 15 to 20 are missing */
    memory_file_arrived(f, 15, 5);
    CHECK(pthread_join(w.thread, NULL) == 0);
    CHECK_OK(w.rc, w.err);
    CHECK_OK(file_map_wait(map.ptr, 60, &err), err);
    CHECK_OK(file_map_wait(&here, 1, &err), err); /* what is no file in memory is there */
    begin_waiting(&w, map.ptr + 60);
    (void)usleep(SOME_US);
    CHECK(!w.done);
    memory_file_end(f);
    CHECK(pthread_join(w.thread, NULL) == 0);
    CHECK_OK(w.rc, w.err);
    CHECK(!memory_files_arriving());
    arena_done(&a);
    memory_files_remove();
}

TEST(memory_file__whoever_waits_is_told_that_nothing_more_will_arrive_now_and_later)
{
    struct err why = { 0 };
    struct waiter w;
    struct arena a = { 0 };
    struct span map;

    (void)arriving(&a, &map);
    begin_waiting(&w, map.ptr);
    (void)err_set(&why, ERR_CORRUPT, "the checksum is wrong");
    memory_files_fail(&why);
    CHECK(pthread_join(w.thread, NULL) == 0);
    CHECK_INT(w.rc, ERR_CORRUPT);
    CHECK_STR(w.err.msg, "the checksum is wrong");
    CHECK_INT(file_map_wait(map.ptr, 1, NULL), ERR_CORRUPT);
    arena_done(&a);
    memory_files_remove();
    CHECK(!memory_files_arriving());
}

/* What has not arrived reads as zeros, so a text that is read whole waits, and here gets the reason. */
TEST(memory_file__a_text_that_is_arriving_is_not_read_before)
{
    struct arena a = { 0 };
    struct span text;
    struct memory_file *f = added("gs://b/late.json", "{\"a\":1}");

    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    memory_file_begin(f);
    memory_file_arrived(f, 0, 3);
    memory_files_fail(&(struct err){ .code = ERR_UNAVAILABLE, .msg = "no more comes" });
    CHECK_INT(file_read("gs://b/late.json", 100, &a, &text, &err), ERR_UNAVAILABLE);
    CHECK_STR(err.msg, "no more comes");
    arena_done(&a);
    memory_files_remove();
}
