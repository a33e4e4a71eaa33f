#include "kernels/base/mapping.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
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

static size_t resident_pages(const char *p, size_t bytes)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    unsigned long from, kb;
    bool here = false;
    char line[512];
    size_t n = 0;

    CHECK(maps);
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-", &from) == 1 && strchr(line, '-') && strchr(line, '-') < line + 20)
            here = from >= (unsigned long)p && from < (unsigned long)p + bytes;
        if (here && sscanf(line, "Rss: %lu kB", &kb) == 1)
            n += kb / 4;
    }
    (void)fclose(maps);
    return n;
}

TEST(mapping__release_takes_whole_pages_out_of_the_process_and_keeps_their_bytes)
{
    static char text[FILE_BYTES];
    const size_t from = 4095, n = 2000003;
    char *p;
    int fd;

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 7 + i / 4096);
    fd = open(temp_file("released", text, sizeof text), O_RDONLY);
    p = mmap(NULL, FILE_BYTES, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(fd >= 0 && p != MAP_FAILED && memcmp(p, text, sizeof text) == 0);
    CHECK(resident_pages(p, FILE_BYTES) > from / PAGE + n / PAGE);
    mapping_release(p + from, n);
    CHECK(resident_pages(p, FILE_BYTES) <= FILE_BYTES / PAGE + 1 - ((from + n) / PAGE - 1)); /* the system may take more */
    CHECK(memcmp(p, text, sizeof text) == 0);
    mapping_release(p + 1, PAGE); /* no whole page */
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
