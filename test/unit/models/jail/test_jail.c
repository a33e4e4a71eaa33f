#include "models/jail/jail.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "models/codec/decode.h"
#include "models/codec/png.h"
#include "models/jail/sandbox.h"
#include "test/support/check.h"
#include "test/support/pictures.h"

/* --- what this program does in the jail: it decodes, or misbehaves as the file says --- */

static void crash(void)
{
    (void)raise(SIGSEGV); /* allowed: to send oneself a signal */
}

static void run_abort(void)
{
    abort();
}

static void try_socket(void)
{
    (void)socket(AF_UNIX, SOCK_STREAM, 0);
}

static void try_open(void)
{
    (void)open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}

static void try_fork(void)
{
    (void)fork();
}

static void try_exec(void)
{
    char *argv[] = { "true", NULL };

    (void)execve("/bin/true", argv, argv + 1);
}

static void try_kill(void)
{
    (void)kill(getppid(), 0);
}

static void try_code(void)
{
    (void)mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void spin(void)
{
    for (volatile int forever = 1; forever;)
        ;
}

static void sleep_long(void)
{
    struct timespec t = { 100, 0 };

    (void)nanosleep(&t, NULL);
}

static void answer_without_end(void)
{
    static char block[1 << 16];

    for (off_t at = 0; pwrite(STDOUT_FILENO, block, sizeof block, at) > 0; at += (off_t)sizeof block)
        ;
}

static void leave_silently(void)
{
    _exit(0);
}

static void leave_with_status(void)
{
    _exit(7);
}

/* Ends with a signal that the environment, descriptors or rights of the process give cause for. */
static void look_around(void)
{
    extern char **environ;
    struct stat s;

    if ((environ && *environ) || getenv("PATH") || fstat(3, &s) == 0)
        (void)raise(SIGFPE);
}

static void *nothing(void *arg)
{
    return arg;
}

static void start_a_thread(void)
{
    pthread_t t;

    if (pthread_create(&t, NULL, nothing, NULL) || pthread_join(t, NULL))
        (void)raise(SIGFPE);
}

static void ask_for_the_date(void)
{
    struct tm tm;
    time_t t = time(NULL);

    if (!localtime_r(&t, &tm))
        (void)raise(SIGFPE);
}

static int by_value(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* The C library's sort asks how much memory the machine has. */
static void sort_much(void)
{
    static int numbers[1 << 14];

    for (int i = 0; i < 1 << 14; i++)
        numbers[i] = 7919 * i % (1 << 14);
    qsort(numbers, 1 << 14, sizeof *numbers, by_value);
}

static void take_memory_in_pieces(void)
{
    void *pieces[64];

    for (size_t i = 0; i < 64; i++)
        pieces[i] = malloc(4096UL << (i % 12));
    for (size_t i = 0; i < 64; i++)
        free(pieces[i]);
}

static const struct {
    const char *word;
    void (*run)(void);
} deeds[] = {
    { "crash", crash },
    { "abort", run_abort },
    { "socket", try_socket },
    { "open", try_open },
    { "fork", try_fork },
    { "exec", try_exec },
    { "kill", try_kill },
    { "code", try_code },
    { "spin", spin },
    { "sleep", sleep_long },
    { "flood", answer_without_end },
    { "silent", leave_silently },
    { "status", leave_with_status },
    { "look", look_around },
    { "thread", start_a_thread },
    { "date", ask_for_the_date },
    { "sort", sort_much },
    { "pieces", take_memory_in_pieces },
};

/* A file "deed: WORD"; any other is decoded. */
static enum err_code decode(struct arena *a, struct span file, const void *options, struct image *ret,
                            struct image_notes *ret_notes, struct err *err)
{
    char *much = NULL;

    for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++)
        if (span_starts(file, "deed: ") && strcmp(file.ptr + 6, deeds[i].word) == 0)
            deeds[i].run();
    if (span_starts(file, "deed: memory"))
        TRY(arena_alloc(a, 1, 2000ULL << 20, &much, err));
    if (span_starts(file, "deed: heap"))
        return malloc(2000ULL << 20) ? ERR_INTERNAL : err_set(err, ERR_NOMEM, "malloc");
    if (span_starts(file, "deed: "))
        return image_new(a, 2, 1, 3, ret, err) || (ret_notes->orientation = 1) != 1;
    return image_decode_here(a, file, options, ret, ret_notes, err);
}

static int in_jail(void)
{
    const struct jail_program program = { decode_jail_program.prepare, decode };

    return jail_child(&program);
}

__attribute__((constructor)) static void register_the_word(void)
{
    test_own_command(JAIL_WORD, in_jail);
}

/* --- the tests --- */

static void need_the_jail(void)
{
    if (jail_unavailable_reason())
        SKIP(jail_unavailable_reason());
}

static void need_the_filter(void)
{
    need_the_jail();
    if (!SANDBOX_IS_WHOLE)
        SKIP("a sanitizer opens files, so that a jail has no filter and no limit on memory in this build");
}

/* A deed in a jail with these limits; the error's message goes to `text`. */
static enum err_code do_deed(const char *word, const struct jail_limits *limits, char text[ERR_MESSAGE_MAX])
{
    struct arena a;
    struct image im;
    struct err err = { 0 };
    char file[32];
    enum err_code rc;

    (void)snprintf(file, sizeof file, "deed: %s", word);
    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    rc = jail_decode(&a, (struct span){ file, strlen(file) + 1 }, (struct span){ NULL, 0 }, limits, &im, NULL, &err);
    arena_done(&a);
    memcpy(text, err.msg, ERR_MESSAGE_MAX);
    return rc;
}

static void check_deed(const char *word, const struct jail_limits *limits, enum err_code want, const char *part)
{
    char text[ERR_MESSAGE_MAX];
    enum err_code rc = do_deed(word, limits, text);

    if (rc != want || !strstr(text, part))
        test_fail(__FILE__, __LINE__, "%s: %s (%s), want %s with \"%s\"", word, err_name(rc), text, err_name(want), part);
}

TEST(jail__works_where_linux_has_seccomp)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    bool has_filters = false;

    while (f && fgets(line, sizeof line, f))
        has_filters = has_filters || strncmp(line, "Seccomp_filters:", 16) == 0;
    CHECK(f && fclose(f) == 0);
#ifndef HAVE_SECCOMP
    SKIP("this program was built without libseccomp");
#endif
    if (!has_filters)
        SKIP("this kernel has no seccomp filters, or does not say so");
    CHECK_STR(jail_unavailable_reason() ? jail_unavailable_reason() : "it works", "it works");
}

TEST(jail__gives_what_the_decoder_gives)
{
    static const char *const files[] = { "decode_420.jpg",      "decode_cmyk.jpg",    "decode_grey.jpg",
                                         "decode_progressive.jpg", "oriented_6.jpg",  "mask_grey_alpha.png",
                                         "mask_palette.png",    "mask_interlaced.png" };
    struct arena a;
    struct err err = { 0 };

    need_the_jail();
    CHECK_OK(arena_init(&a, 256 << 20, &err), err);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct decode_options o = { .alpha = IMAGE_ALPHA_ON_WHITE, .jail = true };
        struct image got, want;
        struct image_notes got_notes, want_notes;
        char path[200];
        struct span file;
        size_t plane;

        (void)snprintf(path, sizeof path, "test/golden/pictures/%s", files[i]);
        file = file_bytes(&a, path);
        CHECK_OK(image_decode_here(&a, file, &o, &want, &want_notes, &err), err);
        CHECK_OK(image_decode(&a, file, &o, &got, &got_notes, &err), err);
        CHECK_SAME_PICTURE(&got, &want);
        plane = (size_t)want.width * (size_t)want.height;
        CHECK_INT(got_notes.orientation, want_notes.orientation);
        CHECK_INT(got_notes.indexed, want_notes.indexed);
        CHECK(span_eq(got_notes.icc, want_notes.icc));
        CHECK(!got_notes.alpha == !want_notes.alpha);
        CHECK(!want_notes.alpha || memcmp(got_notes.alpha, want_notes.alpha, plane) == 0);
        got.pixels[0] ^= 1; /* the pixels are the caller's to change */
    }
    arena_done(&a);
}

TEST(jail__reports_the_errors_of_the_decoder)
{
    const struct decode_options o = { .jail = true };
    struct arena a;
    struct image im;
    struct err err = { 0 };

    need_the_jail();
    CHECK_OK(arena_init(&a, 1 << 20, &err), err);
    CHECK_INT(image_decode(&a, SPAN("\xff\xd8\xff\xd9"), &o, &im, NULL, &err), ERR_CORRUPT);
    CHECK(strncmp(err.msg, "jpeg: ", 6) == 0);
    err = (struct err){ 0 };
    CHECK_INT(image_decode(&a, SPAN(""), &o, &im, NULL, &err), ERR_NOT_AN_IMAGE);
    arena_done(&a);
}

TEST(jail__a_crash_costs_the_file_and_nothing_else)
{
    struct jail_limits limits = jail_limits_for(1000000);

    need_the_filter();
    check_deed("crash", &limits, ERR_CORRUPT, "crashed (SIGSEGV) while it read the file");
    check_deed("abort", &limits, ERR_CORRUPT, "crashed (SIGABRT) while it read the file");
    check_deed("status", &limits, ERR_CORRUPT, "status 7");
    check_deed("silent", &limits, ERR_CORRUPT, "gave no answer");
    check_deed("look", &limits, ERR_OK, ""); /* and the next works */
}

TEST(jail__kills_what_reaches_out)
{
    static const char *const words[] = { "socket", "open", "fork", "exec", "kill", "code" };
    struct jail_limits limits = jail_limits_for(1000000);

    need_the_filter();
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        check_deed(words[i], &limits, ERR_CORRUPT, "system call that it may not make");
}

TEST(jail__allows_what_decoders_need)
{
    static const char *const words[] = { "thread", "date", "look", "sort", "pieces" };
    struct jail_limits limits = jail_limits_for(1000000);

    need_the_jail();
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        check_deed(words[i], &limits, ERR_OK, "");
}

TEST(jail__limits_memory)
{
    struct jail_limits limits = jail_limits_for(1000000);

    need_the_filter();
    check_deed("memory", &limits, ERR_TOO_LARGE, "MB of memory");
    check_deed("heap", &limits, ERR_TOO_LARGE, "MB of memory");
}

TEST(jail__limits_time)
{
    struct jail_limits limits = jail_limits_for(1000000);

    need_the_filter();
    limits.wall_ms = 200;
    check_deed("sleep", &limits, ERR_TOO_LARGE, "longer than 0.2 s");
    check_deed("spin", &limits, ERR_TOO_LARGE, "longer than 0.2 s");
    limits.wall_ms = 30000;
    limits.cpu_s = 1;
    check_deed("spin", &limits, ERR_TOO_LARGE, "more than 1 s of processor time");
}

TEST(jail__limits_the_answer)
{
    struct jail_limits limits = jail_limits_for(1000000);

    need_the_filter();
    limits.answer_bytes = 1 << 20;
    check_deed("flood", &limits, ERR_TOO_LARGE, "more than 1 MB");
}

/* --- many jobs --- */

static int n_entries(const char *folder)
{
    DIR *d = opendir(folder);
    int n = 0;

    CHECK(d != NULL);
    while (readdir(d))
        n++;
    CHECK(closedir(d) == 0);
    return n;
}

static int n_mappings(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    int n = 0;

    CHECK(f != NULL);
    for (int c; (c = fgetc(f)) != EOF;)
        n += c == '\n';
    CHECK(fclose(f) == 0);
    return n;
}

enum { N_JOBS = 6 }; /* of each thread */

struct job {
    struct span file;
    struct image want;
    enum err_code rc;
    struct err err;
    int n_same;
};

static void *decode_often(void *arg)
{
    const struct decode_options o = { .jail = true };
    struct job *job = arg;

    for (int i = 0; i < N_JOBS && !job->rc; i++) {
        struct arena a;
        struct image got = { 0 };

        job->rc = arena_init(&a, 1 << 20, &job->err);
        job->rc = job->rc ? job->rc : image_decode(&a, job->file, &o, &got, NULL, &job->err);
        job->n_same += !job->rc && image_bytes(&got) == image_bytes(&job->want) &&
                       memcmp(got.pixels, job->want.pixels, image_bytes(&got)) == 0;
        arena_done(&a);
    }
    return NULL;
}

TEST(jail__two_threads_decode_and_nothing_is_left_behind)
{
    struct arena a;
    struct err err = { 0 };
    struct job jobs[2] = { 0 };
    pthread_t threads[2];
    int files = 0, mappings = 0;

    need_the_jail();
    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    for (int round = 0; round < 2; round++) { /* the first takes what stays: heaps and stacks of threads */
        for (int i = 0; i < 2; i++) {
            picture_of_noise(&a, 40, 30, 1 + 2 * i, (unsigned)i + 1, &jobs[i].want);
            CHECK_OK(png_write(&a, &jobs[i].want, &jobs[i].file, &err), err);
            jobs[i].n_same = 0;
            CHECK(pthread_create(&threads[i], NULL, decode_often, &jobs[i]) == 0);
        }
        for (int i = 0; i < 2; i++) {
            CHECK(pthread_join(threads[i], NULL) == 0);
            CHECK_OK(jobs[i].rc, jobs[i].err);
            CHECK_INT(jobs[i].n_same, N_JOBS);
        }
        CHECK(round == 0 || n_entries("/proc/self/fd") == files);
        CHECK(round == 0 || n_mappings() <= mappings + 2 || !SANDBOX_IS_WHOLE); /* a sanitizer maps more and more */
        files = n_entries("/proc/self/fd");
        mappings = n_mappings();
    }
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    arena_done(&a);
}

TEST(jail__gives_the_mapping_back_with_the_arena)
{
    const struct decode_options o = { .jail = true };
    struct arena a;
    struct err err = { 0 };
    struct image im;
    struct span file;
    int before;

    need_the_jail();
    CHECK_OK(arena_init(&a, 16 << 20, &err), err);
    file = file_bytes(&a, "test/golden/pictures/mask_rgb.png");
    before = n_mappings();
    {
        ARENA_SCRATCH(&a);

        CHECK_OK(image_decode(&a, file, &o, &im, NULL, &err), err);
        CHECK(n_mappings() > before);
    }
    CHECK_INT(n_mappings(), before);
    arena_done(&a);
}

TEST(jail__is_not_entered_by_hand)
{
    char program[] = "program", word[] = JAIL_WORD, other[] = "serve", *by_hand[] = { program, word, other, NULL };

    CHECK(jail_is_child(2, by_hand));
    CHECK(!jail_is_child(3, by_hand));
    CHECK(!jail_is_child(2, (char *[]){ program, other, NULL }));
    CHECK(!jail_is_child(1, by_hand));
    CHECK_INT(jail_child(&decode_jail_program), 3); /* standard input is no request */
}
