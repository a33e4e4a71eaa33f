#include "models/fill/self_check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/file.h"
#include "models/fill/fill_model.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"
#include "test/support/limits.h"
#include "test/support/model.h"

static const char transformer[] = "flux1-fill-Q8_0.gguf";

struct scene {
    char dir[512], weights[600], check[700];
    struct backend *be;
    struct fill_model *m;
};

/* A new folder whose transformer can be damaged; a prompt pack takes the place of the encoders. */
static void make_folder(struct scene *s, const char *name)
{
    static const char *const linked[][2] = { { "small/models/ae.safetensors", "ae.safetensors" },
                                             { "small/cases/text.safetensors", "prompts.safetensors" } };
    struct err err = { 0 };
    struct arena a;
    struct span bytes;
    char inside[128], to[600];

    (void)snprintf(inside, sizeof inside, "%s/%s", name, transformer);
    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    CHECK_OK(file_read(golden("small/models/%s", transformer), 32 << 20, &a, &bytes, &err), err);
    (void)snprintf(s->weights, sizeof s->weights, "%s", temp_file(inside, bytes.ptr, bytes.len));
    arena_done(&a);
    (void)snprintf(s->dir, sizeof s->dir, "%.*s", (int)(strrchr(s->weights, '/') - s->weights), s->weights);
    for (int i = 0; i < 2; i++) {
        char *real = realpath(golden("%s", linked[i][0]), NULL);

        (void)snprintf(to, sizeof to, "%s/%s", s->dir, linked[i][1]);
        CHECK(real && symlink(real, to) == 0);
        free(real);
    }
}

static void open_model_in(struct scene *s, enum precision precision)
{
    const struct fill_options o = { .max_width = 32, .max_height = 32, .max_steps = 1, .max_t5_len = 16 };
    struct err err = { 0 };

    CHECK_OK(backend_open(BACKEND_CPU, precision, &s->be, &err), err);
    (void)snprintf(s->check, sizeof s->check, "%s.%s-F32.check", s->weights, s->be->name); /* the name is plain without oneDNN */
    CHECK_OK(fill_model_open(s->dir, &o, s->be, &s->m, &err), err);
}

static void open_model(struct scene *s)
{
    open_model_in(s, PRECISION_F32);
}

static void close_model(struct scene *s)
{
    fill_model_close(s->m);
    backend_close(s->be);
    s->m = NULL;
}

/* Flips a bit in the exponent of the scale of the first block of a Q8_0 matrix, linear2 of the first single block. */
static void damage(struct scene *s)
{
    const struct weight *w = &s->m->flux.single_blocks[0].linear2.w;
    struct tensor_file f;
    struct err err = { 0 };
    struct arena a;
    int fd = open(s->weights, O_RDWR);
    int64_t at;
    unsigned char byte;

    CHECK(fd >= 0 && w->dtype == DT_Q8_0);
    CHECK_OK(arena_init(&a, 64 << 20, &err), err);
    CHECK_OK(tensor_file_open(s->weights, &a, &f, &err), err);
    at = (const char *)tensor_file_find(&f, SPAN("single_blocks.0.linear2.weight"))->data - f.map.ptr + 1;
    CHECK(pread(fd, &byte, 1, at) == 1);
    byte ^= 0x10; /* a factor of 16 or a sixteenth */
    CHECK(pwrite(fd, &byte, 1, at) == 1 && close(fd) == 0);
    arena_done(&a);
}

TEST(self_check__passes_without_stored_values_and_writes_nothing)
{
    struct self_check got = { .stored = true };
    struct scene s = { 0 };
    struct err err = { 0 };

    make_folder(&s, "check-none");
    open_model(&s);
    CHECK_OK(self_check_run(s.m, &got, &err), err);
    CHECK(!got.stored && got.worst <= SELF_CHECK_LIMIT_F32);
    CHECK(access(s.check, F_OK) != 0);
    close_model(&s);
}

TEST(self_check__finds_one_damaged_scale_where_values_are_stored)
{
    struct self_check got = { 0 };
    struct scene s = { 0 };
    struct err err = { 0 };

    make_folder(&s, "check-damage");
    open_model(&s);
    CHECK_OK(self_check_record(s.m, &err), err);
    CHECK_OK(self_check_run(s.m, &got, &err), err);
    CHECK(got.stored && got.worst <= SELF_CHECK_LIMIT_F32);
    damage(&s);
    close_model(&s);
    open_model(&s);
    CHECK_INT(self_check_run(s.m, &got, &err), ERR_NUMERIC);
    CHECK(strstr(err.msg, "self-check: latents_0") && strstr(err.msg, "damaged"));
    close_model(&s);
}

TEST(self_check__values_of_another_model_are_ignored)
{
    struct self_check got = { .stored = true };
    struct scene s = { 0 };
    struct err err = { 0 };

    make_folder(&s, "check-other");
    open_model(&s);
    CHECK_OK(self_check_record(s.m, &err), err);
    s.m->digests[0][0] ^= 1;
    CHECK_OK(self_check_run(s.m, &got, &err), err);
    CHECK(!got.stored && strstr(got.note, "Q8_0.gguf.cpu-F32.check are not used"));
    s.m->digests[0][0] ^= 1;
    s.m->headers ^= 1; /* the same directory, and other metadata: `convert` was given another LoRA */
    got.stored = true;
    CHECK_OK(self_check_run(s.m, &got, &err), err);
    CHECK(!got.stored);
    close_model(&s);
}

/* Reads the stored results, harms them in one way, and writes them again. */
static void put_check(const struct scene *s, const char *bytes, size_t n)
{
    int fd = open(s->check, O_WRONLY | O_TRUNC);

    CHECK(fd >= 0 && write(fd, bytes, n) == (ssize_t)n && close(fd) == 0);
}

static void expect_refused(struct scene *s, const char *harm, size_t at)
{
    struct self_check got = { 0 };
    struct err err = { 0 };
    enum err_code rc = self_check_run(s->m, &got, &err);

    if (rc != ERR_CORRUPT || !strstr(err.msg, ".check") || !strstr(err.msg, "doctor --self-check"))
        test_fail(__FILE__, __LINE__, "%s at %zu: %s: %s", harm, at, err_name(rc), err.msg);
}

/* Damage to what the check compares with must not switch it off, wherever it is. */
TEST(self_check__a_damaged_file_of_stored_values_is_an_error_and_not_no_file)
{
    struct scene s = { 0 };
    struct err err = { 0 };
    struct arena a;
    struct span whole;
    char *copy;

    make_folder(&s, "check-harmed");
    open_model(&s);
    CHECK_OK(self_check_record(s.m, &err), err);
    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    CHECK_OK(file_read(s.check, 8 << 20, &a, &whole, &err), err);
    copy = malloc(whole.len);
    for (size_t at = 0; at < whole.len; at += at < 900 ? 13 : 4099) { /* every part of the header, some of the data */
        memcpy(copy, whole.ptr, whole.len);
        copy[at] ^= (char)(1 << at % 8);
        put_check(&s, copy, whole.len);
        expect_refused(&s, "a bit flipped", at);
    }
    for (size_t n = 0; n < whole.len; n += n < 900 ? 97 : 7919) {
        put_check(&s, whole.ptr, n);
        expect_refused(&s, "cut", n);
    }
    put_check(&s, whole.ptr, whole.len);
    CHECK_OK(self_check_run(s.m, NULL, &err), err);
    free(copy);
    arena_done(&a);
    close_model(&s);
}

TEST(self_check__what_is_there_and_cannot_be_read_is_an_error)
{
    struct scene s = { 0 };
    struct err err = { 0 };
    struct rlimit was;

    make_folder(&s, "check-unreadable");
    open_model(&s);
    CHECK(symlink("/nonexistent/stored", s.check) == 0);
    expect_refused(&s, "a link that leads nowhere", 0);
    CHECK(unlink(s.check) == 0);
    CHECK_OK(self_check_record(s.m, &err), err);
    was = limit_files();
    expect_refused(&s, "no more files", 0);
    CHECK(setrlimit(RLIMIT_NOFILE, &was) == 0);
    CHECK_OK(self_check_run(s.m, NULL, &err), err);
    close_model(&s);
}

TEST(self_check__a_folder_that_cannot_be_written_is_reported)
{
    struct self_check got = { 0 };
    struct scene s = { 0 };
    struct err err = { 0 }, why = { 0 };

    make_folder(&s, "check-read-only");
    open_model(&s);
    CHECK(mkdir(s.check, 0700) == 0); /* a rename cannot replace a folder, even for root */
    CHECK(self_check_record(s.m, &why) != ERR_OK);
    expect_refused(&s, "a folder", 0);
    CHECK(rmdir(s.check) == 0);
    CHECK_OK(self_check_run(s.m, &got, &err), err);
    CHECK(!got.stored && !*got.note);
    close_model(&s);
}

/* What `auto` chooses depends on the processor: values are stored under the precision that computed, not the one asked
 * for. */
TEST(self_check__values_are_stored_under_the_precision_that_computed)
{
    struct self_check got = { 0 };
    struct scene s = { 0 };
    struct err err = { 0 };
    char bf16[700];
    bool is_bf16;

    make_folder(&s, "check-precision");
    open_model_in(&s, PRECISION_AUTO);
    (void)snprintf(bf16, sizeof bf16, "%s.%s-BF16.check", s.weights, s.be->name);
    is_bf16 = s.be->act == DT_BF16;
    CHECK_OK(self_check_record(s.m, &err), err);
    CHECK(access(is_bf16 ? bf16 : s.check, F_OK) == 0 && access(is_bf16 ? s.check : bf16, F_OK) != 0);
    close_model(&s);
    open_model_in(&s, is_bf16 ? PRECISION_BF16 : PRECISION_F32);
    CHECK_OK(self_check_run(s.m, &got, &err), err);
    CHECK(got.stored);
    close_model(&s);
    open_model_in(&s, is_bf16 ? PRECISION_F32 : PRECISION_BF16);
    CHECK_OK(self_check_run(s.m, &got, &err), err);
    CHECK_INT(got.stored, !is_bf16); /* values of f32 stand in for all others */
    close_model(&s);
}

/* A file of values can be shipped with a transformer: whatever computes is compared with the CPU's f32. */
TEST(self_check__values_of_the_cpu_in_f32_stand_in_for_other_backends_and_types)
{
    struct self_check got = { 0 };
    struct scene s = { 0 };
    struct err err = { 0 };

    make_folder(&s, "check-shipped");
    open_model(&s);
    CHECK_OK(self_check_record(s.m, &err), err);
    close_model(&s);
    if (access(s.check, F_OK) != 0 || !strstr(s.check, ".cpu-F32."))
        SKIP("this build's CPU backend is the plain one");
    open_model_in(&s, PRECISION_BF16);
    CHECK_OK(self_check_run(s.m, &got, &err), err);
    CHECK(got.stored && got.worst > 0 && got.worst < SELF_CHECK_LIMIT_BF16);
    close_model(&s);
}
