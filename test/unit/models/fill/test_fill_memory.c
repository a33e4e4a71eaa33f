/* Devices of any size: the plain backend, which claims to have memory of its own, of a size that the test sets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/host_memory.h"
#include "models/fill/fill.h"
#include "models/fill/fill_model.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"

static const char *const files[] = { "flux1-fill-F32.gguf", "flux1-fill-Q8_0.gguf", "flux1-fill-Q4_0.gguf" };
static const struct fill_options options = { .max_width = 64, .max_height = 32, .max_steps = 2, .max_t5_len = 16 };

static int64_t available;
static struct fill_notes notes; /* of the model that was opened last */

static struct backend_memory report_available(struct backend *be)
{
    (void)be;
    return (struct backend_memory){ .available = available };
}

struct device {
    struct backend *be;
    struct backend_ops ops;
};

static void open_device(struct device *d, bool in_place)
{
    struct err err = { 0 };

    CHECK_OK(backend_open(BACKEND_PLAIN, PRECISION_F32, &d->be, &err), err);
    d->ops = *d->be->ops;
    d->ops.memory = report_available;
    d->be->ops = &d->ops;
    d->be->in_place = in_place;
    d->be->name = "toy";
}

/* Three quantisations, the VAE, and embeddings in place of the text encoders. */
static void make_folder(char dir[512])
{
    const char *from[] = { "small/models/flux1-fill-F32.gguf", "small/models/flux1-fill-Q8_0.gguf",
                           "small/models/flux1-fill-Q4_0.gguf", "small/models/ae.safetensors",
                           "small/cases/text.safetensors" };
    const char *to[] = { files[0], files[1], files[2], "ae.safetensors", "prompts.safetensors" };

    for (int i = 0; i < 5; i++) {
        char inside[128], *real = realpath(golden("%s", from[i]), NULL);
        const char *path;

        (void)snprintf(inside, sizeof inside, "memory/%s", to[i]);
        path = temp_path(inside);
        (void)snprintf(dir, 512, "%.*s", (int)(strrchr(path, '/') - path), path);
        CHECK(real && (access(path, F_OK) == 0 || symlink(real, path) == 0));
        free(real);
    }
}

static int64_t needed(const char *dir, const char *file, bool modulation_in_file)
{
    struct fill_options o = options;
    struct fill_memory m = { 0 };
    struct err err = { 0 };

    o.transformer = file;
    o.modulation_in_file = modulation_in_file;
    CHECK_OK(fill_memory_estimate(dir, &o, NULL, &m, &err), err);
    CHECK(m.available == -1 && m.request > 0 && m.weights > 0);
    return m.weights + m.request;
}

/* The transformer that is opened where `bytes` are free; NULL: none was opened, and err says why. */
static const char *opened(struct device *d, const char *dir, const char *named, int64_t bytes, bool *ret_in_file,
                          struct err *err)
{
    static char name[256];
    struct fill_options o = options;
    struct fill_model *m = NULL;

    *err = (struct err){ 0 };
    o.transformer = named;
    o.notes = &notes;
    notes = (struct fill_notes){ 0 };
    available = bytes;
    if (fill_model_open(dir, &o, d->be, &m, err))
        return NULL;
    (void)snprintf(name, sizeof name, "%s", strrchr(fill_model_transformer(m), '/') + 1);
    *ret_in_file = m->flux.modulation_in_file;
    fill_model_close(m);
    return name;
}

TEST(fill_memory__a_device_takes_the_largest_transformer_that_fits)
{
    struct device d;
    struct err err;
    char dir[512];
    bool in_file = true;

    make_folder(dir);
    open_device(&d, false);
    CHECK_STR(opened(&d, dir, NULL, needed(dir, files[0], false), &in_file, &err), files[0]);
    CHECK(!in_file);
    CHECK_STR(opened(&d, dir, NULL, needed(dir, files[0], true), &in_file, &err), files[0]);
    CHECK(in_file);
    CHECK_STR(opened(&d, dir, "auto", needed(dir, files[0], true) - 1, &in_file, &err), files[1]);
    CHECK_STR(opened(&d, dir, NULL, needed(dir, files[2], true), &in_file, &err), files[2]);
    CHECK_STR(opened(&d, dir, NULL, -1, &in_file, &err), files[0]); /* unknown memory */
    backend_close(d.be);
}

TEST(fill_memory__a_device_that_is_too_small_is_reported_with_the_numbers)
{
    struct device d;
    struct err err;
    char dir[512];
    bool in_file;

    make_folder(dir);
    open_device(&d, false);
    CHECK(!opened(&d, dir, NULL, 1 << 20, &in_file, &err));
    CHECK(err.code == ERR_NOMEM && strstr(err.msg, "64 x 32") && strstr(err.msg, "toy, 0.00 GiB are free"));
    CHECK(!opened(&d, dir, files[0], needed(dir, files[1], false), &in_file, &err)); /* no other is taken in its place */
    CHECK(err.code == ERR_NOMEM && strstr(err.msg, files[0]));
    backend_close(d.be);
}

TEST(fill_memory__a_machine_that_uses_the_files_in_place_prefers_what_fits_and_works_with_any)
{
    struct device d;
    struct err err;
    char dir[512];
    bool in_file;

    make_folder(dir);
    open_device(&d, true);
    CHECK_STR(opened(&d, dir, NULL, (int64_t)1 << 40, &in_file, &err), files[0]);
    CHECK_STR(opened(&d, dir, NULL, 1000, &in_file, &err), files[0]);
    CHECK_STR(opened(&d, dir, files[2], 1 << 20, &in_file, &err), files[2]);
    backend_close(d.be);
}

/* What is chosen because of the memory is said; what cannot be read is not passed over. */
TEST(fill_memory__says_that_a_smaller_transformer_computes_and_takes_none_in_place_of_an_unreadable_one)
{
    static const bool in_place[] = { false, true };
    struct device d;
    struct err err;
    char dir[512];
    bool in_file;

    make_folder(dir);
    for (int i = 0; i < 2; i++) {
        const char *large;
        int64_t room = in_place[i] ? 1 << 20 : needed(dir, files[0], true) - 1;

        open_device(&d, in_place[i]);
        CHECK_STR(opened(&d, dir, NULL, (int64_t)1 << 40, &in_file, &err), files[0]);
        CHECK_INT(notes.n, 0);
        CHECK(opened(&d, dir, NULL, room, &in_file, &err));
        CHECK(notes.n == 1 && strstr(notes.text[0], "computes, because flux1-fill-F32.gguf does not fit into the"));
        large = temp_path("memory/zz-larger-fill.gguf");
        CHECK(symlink("/nonexistent/blob", large) == 0);
        CHECK(!opened(&d, dir, NULL, (int64_t)1 << 40, &in_file, &err));
        CHECK(err.code == ERR_IO && strstr(err.msg, "zz-larger-fill.gguf"));
        CHECK(!opened(&d, dir, "auto", room, &in_file, &err));
        CHECK(err.code == ERR_IO && strstr(err.msg, "zz-larger-fill.gguf"));
        CHECK(unlink(large) == 0);
        backend_close(d.be);
    }
}

/* --- the memory of a machine --- */

static void put(const char *root, const char *file, const char *text)
{
    char path[700];
    FILE *f;

    (void)snprintf(path, sizeof path, "mkdir -p %s$(dirname %s)", root, file);
    CHECK(system(path) == 0);
    (void)snprintf(path, sizeof path, "%s%s", root, file);
    f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

TEST(host_memory__is_the_least_of_machine_and_container)
{
    char root[512];

    (void)snprintf(root, sizeof root, "%s", temp_path("host-memory"));
    CHECK_INT(host_memory_available_in(root), -1);
    put(root, "/proc/meminfo", "MemTotal:  100 kB\nMemAvailable:   40 kB\n");
    CHECK_INT(host_memory_available_in(root), 40 * 1024);
    put(root, "/sys/fs/cgroup/memory.max", "max\n");
    put(root, "/sys/fs/cgroup/memory.current", "9000\n");
    put(root, "/sys/fs/cgroup/memory.stat", "anon 1000\nfile 8000\nfile_mapped 7\n");
    CHECK_INT(host_memory_available_in(root), 40 * 1024);
    put(root, "/sys/fs/cgroup/memory.max", "20000\n");
    CHECK_INT(host_memory_available_in(root), 19000);
    put(root, "/sys/fs/cgroup/memory.stat", "anon 1000\nfile 8000\nshmem 5000\nfile_mapped 7\n");
    CHECK_INT(host_memory_available_in(root), 14000); /* files in memory stay there */
    put(root, "/sys/fs/cgroup/memory.max", "500\n");
    CHECK_INT(host_memory_available_in(root), 0);
    CHECK(host_memory_available() == -1 || host_memory_available() > 0);
}
