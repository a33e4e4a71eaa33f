#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "models/jail/reply.h"
#include "models/jail/request.h"
#include "models/jail/sandbox.h"

bool jail_is_child(int argc, char **argv)
{
    return argc == 2 && strcmp(argv[1], JAIL_WORD) == 0;
}

/* NULL: standard input is not what a parent hands over, as when a person types the word. */
static const struct jail_request *take_request(void)
{
    const struct jail_request *r;
    struct stat s;

    if (fstat(STDIN_FILENO, &s) != 0 || !S_ISREG(s.st_mode) || s.st_size < REQUEST_FILE_AT)
        return NULL;
    r = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, STDIN_FILENO, 0);
    if (r == MAP_FAILED || memcmp(r->magic, REQUEST_MAGIC, sizeof r->magic) != 0 ||
        r->file_len != (uint64_t)s.st_size - REQUEST_FILE_AT)
        return NULL;
    return r;
}

/* In a jail there is no more memory than the limit, so that the same file fails again. */
static enum err_code decode(const struct jail_program *p, const struct jail_request *r, struct span file,
                            struct reply *reply)
{
    struct arena a;
    struct err err = { 0 };
    enum err_code rc = arena_init(&a, (size_t)r->limits.arena_bytes, &err);

    rc = rc ? rc : p->decode(&a, file, r->options, &reply->image, &reply->notes, &err);
    if (rc == ERR_NOMEM)
        return err_set(&reply->err, ERR_TOO_LARGE, "jail: the decoder takes more than %lld MB of memory",
                       (long long)(r->limits.memory_bytes >> 20));
    reply->err = err;
    reply->err.code = rc;
    return rc;
}

static enum err_code run(const struct jail_program *p, const struct jail_request *r, struct reply *reply)
{
    const struct sandbox_limits limits = { r->limits.memory_bytes, r->limits.answer_bytes, r->limits.cpu_s };
    const struct span file = { (const char *)r + REQUEST_FILE_AT, (size_t)r->file_len };

    TRY(sandbox_leave_parent(r->parent, &reply->err));
    if (p->prepare)
        p->prepare(file);
    TRY(sandbox_enter(&limits, &reply->err));
    if (r->try_the_door)
        sandbox_try_the_door();
    return decode(p, r, file, reply);
}

int jail_child(const struct jail_program *program)
{
    const struct jail_request *r = take_request();
    struct reply reply = { 0 };
    struct err err = { 0 };

    if (!r)
        return JAIL_NOT_ASKED;
    err_ignore(run(program, r, &reply)); /* the answer says it */
    return reply_write(STDOUT_FILENO, &reply, &err) ? JAIL_NO_ROOM : JAIL_ANSWERED;
}
