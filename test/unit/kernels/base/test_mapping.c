#include "kernels/base/mapping.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <sys/stat.h>

#include "models/bench/bench_load.h"
#include "test/support/bytes.h"
#include "test/support/check.h"

enum { FILE_BYTES = 3000001, PAGE = 4096 };

TEST(mapping__brings_the_part_that_was_asked_for_into_memory)
{
    static char text[FILE_BYTES];
    static unsigned char in_memory[FILE_BYTES / PAGE + 1];
    int fd = open(temp_file("mapped", text, sizeof text), O_RDONLY);
    const size_t from = 4095, n = 2000003;
    char *p;

    CHECK(fd >= 0 && fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    p = mmap(NULL, FILE_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(p != MAP_FAILED);
    mapping_read(p + from, n, p + FILE_BYTES);
    CHECK(mincore(p, FILE_BYTES, in_memory) == 0);
    for (size_t at = from; at < from + n; at += PAGE)
        CHECK(in_memory[at / PAGE] & 1);
    mapping_announce(p, FILE_BYTES);
    CHECK(munmap(p, FILE_BYTES) == 0 && close(fd) == 0);
}

TEST(mapping__accepts_memory_that_is_not_a_file_mapping)
{
    char *p = calloc(2, PAGE);

    CHECK(p);
    mapping_announce(p + 1, PAGE);
    mapping_read(p + 1, PAGE, p + 2 * PAGE);
    mapping_read(p, 0, p);
    free(p);
}

TEST(bench_load__times_three_ways_one_of_them_twice_and_refuses_what_is_not_a_file)
{
    static const char text[10000];
    struct bench_load b = { 0 };
    struct err err = { 0 };

    CHECK_OK(bench_load(temp_file("bench-load", text, sizeof text), &b, &err), err);
    CHECK(b.bytes == sizeof text && b.touch_seconds > 0 && b.mapped_seconds > 0);
    CHECK(b.read_seconds[0] > 0 && b.read_seconds[1] > 0);
    CHECK_INT(bench_load("/nowhere", &b, NULL), ERR_IO);
    CHECK_INT(bench_load("/tmp", &b, NULL), ERR_IO);
    CHECK_INT(mkfifo(temp_path("bench-pipe"), 0600), 0); /* nobody ever writes into it */
    CHECK_INT(bench_load(temp_path("bench-pipe"), &b, NULL), ERR_IO);
}

/* The first read may be of cold storage: 126 MB/s were measured for it, and 1107 for the mapping after it. */
TEST(bench_load__the_measure_is_the_faster_of_both_reads)
{
    CHECK(bench_load_read_seconds(&(struct bench_load){ .read_seconds = { 12, 3 } }) == 3);
    CHECK(bench_load_read_seconds(&(struct bench_load){ .read_seconds = { 2, 3 } }) == 2);
}
