#include "models/file/file_map.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "models/file/tensor_file.h"
#include "test/support/bytes.h"
#include "test/support/check.h"

enum { PAGE = 4096, N_PAGES = 40, SIZE = N_PAGES * PAGE - 100 };

struct scene {
    struct arena a;
    char path[256];
    struct span map;
};

static void open_scene(struct scene *s, const char *name)
{
    char *ones = malloc(SIZE);
    struct err err = { 0 };

    memset(ones, 1, SIZE);
    (void)snprintf(s->path, sizeof s->path, "%s", temp_file(name, ones, SIZE));
    free(ones);
    CHECK_OK(arena_init(&s->a, 16 << 20, &err), err);
    CHECK_OK(file_map_open(s->path, &s->a, &s->map, &err), err);
    CHECK_OK(file_map_check(&err), err);
}

static int64_t sum(struct span map)
{
    int64_t sum = 0;

    for (size_t i = 0; i < map.len; i++)
        sum += ((const volatile char *)map.ptr)[i];
    return sum;
}

/* The check fails, with the file's name and this text, and goes on failing when the mapping is gone. */
static void expect_lost(struct scene *s, const char *text, bool for_good)
{
    struct err err = { 0 };

    CHECK_INT(file_map_check(&err), ERR_IO);
    if (!strstr(err.msg, s->path) || !strstr(err.msg, text) || !strstr(err.msg, "start the worker again"))
        test_fail(__FILE__, __LINE__, "%s", err.msg);
    arena_done(&s->a);
    CHECK_INT(file_map_check(NULL), for_good ? ERR_IO : ERR_OK);
}

TEST(file_map__a_pipe_is_refused_without_a_wait_for_its_writer)
{
    const char *path = temp_file("pipe", "", 0);
    struct arena a;
    struct span map;

    CHECK(unlink(path) == 0 && mkfifo(path, 0600) == 0);
    CHECK_OK(arena_init(&a, 1 << 20, NULL), (struct err){ 0 });
    CHECK_INT(file_map_open(path, &a, &map, NULL), ERR_IO);
    CHECK(unlink(path) == 0);
    arena_done(&a);
}

TEST(file_map__a_file_that_is_shortened_reads_as_zeros_and_fails_the_check)
{
    static const off_t lengths[] = { 0, 1, PAGE, 17 * PAGE, (N_PAGES - 1) * PAGE };

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct scene s;
        pid_t child = fork(); /* a loss is for good */
        int status;

        if (child == 0) {
            open_scene(&s, "shortened");
            CHECK(truncate(s.path, lengths[i]) == 0);
            CHECK(sum(s.map) == lengths[i]);
            expect_lost(&s, lengths[i] == 0 ? "any more at byte 0," : "any more at byte", true);
            _exit(0);
        }
        CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    }
}

/* No signal comes in these cases. */
TEST(file_map__a_file_that_is_changed_in_any_other_way_fails_the_check)
{
    struct scene s;
    int fd;

    open_scene(&s, "last-page"); /* the rest of a page is zeros without a signal */
    CHECK(truncate(s.path, SIZE - 1) == 0);
    CHECK_INT(sum(s.map), SIZE - 1);
    expect_lost(&s, "from 163740 bytes to 163739", false);

    open_scene(&s, "grown");
    CHECK(truncate(s.path, SIZE + 1) == 0);
    expect_lost(&s, "to 163741", false);

    open_scene(&s, "emptied-and-filled"); /* as long as it was */
    CHECK(truncate(s.path, 0) == 0 && truncate(s.path, SIZE) == 0);
    CHECK_INT(sum(s.map), 0);
    expect_lost(&s, "was written to", false);

    open_scene(&s, "overwritten");
    fd = open(s.path, O_WRONLY);
    CHECK(fd >= 0 && pwrite(fd, "x", 1, 7 * PAGE) == 1 && close(fd) == 0);
    expect_lost(&s, "was written to", false);
}

/* Those who have the file open keep it as it was. */
TEST(file_map__a_file_may_be_replaced_by_renaming_and_removed)
{
    struct scene s;
    struct err err = { 0 };
    char other[256];

    open_scene(&s, "renamed");
    (void)snprintf(other, sizeof other, "%s", temp_file("renamed-new", "new", 3));
    CHECK(rename(other, s.path) == 0);
    CHECK_INT(sum(s.map), SIZE);
    CHECK_OK(file_map_check(&err), err);
    CHECK(unlink(s.path) == 0);
    CHECK_OK(file_map_check(&err), err);
    CHECK_INT(sum(s.map), SIZE);
    arena_done(&s.a);
}

TEST(file_map__many_threads_may_find_the_loss_at_once)
{
    struct scene s;
    int64_t total = 0;

    open_scene(&s, "threads");
    CHECK(truncate(s.path, 5 * PAGE) == 0);
#pragma omp parallel for num_threads(8) schedule(static, 1) reduction(+ : total)
    for (int page = N_PAGES - 2; page >= 0; page--)
        total += ((const volatile char *)s.map.ptr)[page * PAGE];
    CHECK_INT(total, 5);
    expect_lost(&s, "any more at byte", true);
}

/* What ends a process that has a file_map open and meets a SIGBUS that is not about it. */
static void expect_killed(void (*meet)(void))
{
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        struct scene s;

        (void)signal(SIGBUS, SIG_DFL); /* a sanitizer's handler would only report it */
        open_scene(&s, "ours");
        meet();
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

static void touch_a_foreign_mapping(void)
{
    int fd = open(temp_file("foreign", "x", 1), O_RDWR);
    const char *foreign = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);

    if (foreign != MAP_FAILED)
        (void)*(const volatile char *)(foreign + PAGE);
}

static void be_sent_one(void)
{
    (void)kill(getpid(), SIGBUS);
    (void)pause();
}

TEST(file_map__another_bus_error_still_kills)
{
    expect_killed(touch_a_foreign_mapping);
    expect_killed(be_sent_one);
}

TEST(file_map__two_files_may_be_lost_at_once)
{
    struct scene first, second;
    int64_t total = 0;

    open_scene(&first, "first");
    open_scene(&second, "second");
    CHECK(truncate(first.path, 2 * PAGE) == 0 && truncate(second.path, 3 * PAGE) == 0);
#pragma omp parallel for num_threads(4) schedule(static, 1) reduction(+ : total)
    for (int i = 0; i < 2 * (N_PAGES - 1); i++)
        total += ((const volatile char *)(i % 2 ? first : second).map.ptr)[i / 2 * PAGE];
    CHECK_INT(total, 5);
    CHECK_INT(file_map_check(NULL), ERR_IO);
    arena_done(&second.a);
    arena_done(&first.a);
}

TEST(file_map__refuses_more_files_than_it_can_watch)
{
    struct scene s;
    struct span map;
    struct err err = { 0 };
    struct arena_mark mark;

    open_scene(&s, "many");
    mark = arena_mark(&s.a);
    for (int i = 1; i < FILE_MAP_MAX; i++)
        CHECK_OK(file_map_open(s.path, &s.a, &map, &err), err);
    CHECK_INT(file_map_open(s.path, &s.a, &map, &err), ERR_TOO_LARGE);
    CHECK(strstr(err.msg, s.path) && strstr(err.msg, "512"));
    arena_rewind(&s.a, mark);
    err = (struct err){ 0 };
    CHECK_OK(file_map_open(s.path, &s.a, &map, &err), err);
    arena_done(&s.a);
}

/* A file that is lost after the model was opened is not written on as values. */
TEST(file_map__nothing_is_written_that_came_from_a_lost_file)
{
    struct scene s;
    struct err err = { 0 };
    char out[256];
    struct tensor_write t = { "x", DT_F32, 1, { SIZE / 4 }, NULL };

    open_scene(&s, "source");
    t.data = s.map.ptr;
    (void)snprintf(out, sizeof out, "%s", temp_path("copy.safetensors"));
    CHECK(truncate(s.path, PAGE) == 0);
    CHECK(safetensors_write(out, &t, 1, NULL, 0, &err) != ERR_OK);
    CHECK(access(out, F_OK) != 0);
    arena_done(&s.a);
}
