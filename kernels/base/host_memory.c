#include "kernels/base/host_memory.h"

#include <stdio.h>
#include <string.h>

enum { PATH_SIZE = 512, LINE_SIZE = 256 };

/* The number after `key` at the start of a line; with key "", the number at the start of the first line. -1: there is
 * none, as in "max". */
static int64_t read_number(const char *root, const char *file, const char *key)
{
    char path[PATH_SIZE], line[LINE_SIZE];
    long long n, found = -1;
    size_t len = strlen(key);
    FILE *f;

    (void)snprintf(path, sizeof path, "%s%s", root, file);
    f = fopen(path, "r");
    if (!f)
        return -1;
    while (found < 0 && fgets(line, sizeof line, f))
        if (!strncmp(line, key, len) && sscanf(line + len, " %lld", &n) == 1 && n >= 0)
            found = n;
    (void)fclose(f);
    return found;
}

/* The memory that a control group leaves: its limit less its use, without file pages. Those of files that are in memory
 * alone are counted among them, and cannot be taken back. */
static int64_t group_available(const char *root, const char *limit, const char *current, const char *stat,
                               const char *file_key)
{
    int64_t most = read_number(root, limit, ""), used = read_number(root, current, ""),
            files = read_number(root, stat, file_key), in_memory = read_number(root, stat, "shmem ");

    if (most < 0 || used < 0)
        return -1;
    if (in_memory > 0)
        files -= in_memory;
    if (files > 0)
        used -= files < used ? files : used;
    return used < most ? most - used : 0;
}

int64_t host_memory_available_in(const char *root)
{
    int64_t kib = read_number(root, "/proc/meminfo", "MemAvailable:"), best = kib < 0 ? -1 : kib * 1024;
    int64_t groups[] = {
        group_available(root, "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current",
                        "/sys/fs/cgroup/memory.stat", "file "),
        group_available(root, "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                        "/sys/fs/cgroup/memory/memory.usage_in_bytes", "/sys/fs/cgroup/memory/memory.stat", "cache "),
    };

    for (int i = 0; i < 2; i++)
        if (groups[i] >= 0 && (best < 0 || groups[i] < best))
            best = groups[i];
    return best;
}

int64_t host_memory_available(void)
{
    return host_memory_available_in("");
}
