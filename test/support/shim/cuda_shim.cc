#include "test/support/shim/cuda_shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

extern "C" {
#include "kernels/quant.h"
}

namespace
{

enum { MAX_THREADS = 1024, MAX_COPIES = 64, GUARD = 64, GUARD_BYTE = 0xa5, SHARED_MAX = 227 * 1024 };
enum state : unsigned char { NEW, READY, AT_BLOCK, AT_WARP, ENDED };

const size_t stack_bytes = 256 * 1024;

/* A point to continue at, filled by __builtin_setjmp. swapcontext would ask the kernel for the signal mask, a microsecond
 * each time, and threads are switched hundreds of millions of times. */
struct place {
    void *words[5];
};

/* A stack on which threads run one after another; it starts the next thread itself, and is left only when one waits. */
struct fiber {
    ucontext_t start;
    bool started;
    struct place place;
    char *stack;
    int thread;
    struct fiber *next_idle;
    void *fake_stack; /* AddressSanitizer's */
};

struct copy {
    void *to;
    uint8_t bytes[16];
    int group;
};

struct thread {
    struct fiber *fiber;
    dim3 index;
    void *lane; /* the operand that it has passed to its warp */
    struct copy copies[MAX_COPIES];
    int n_copies, n_groups; /* copies in progress; groups ended so far */
};

struct {
    struct thread threads[MAX_THREADS];
    enum state states[MAX_THREADS]; /* in an array of their own, because they are scanned often */
    int n_threads, n_started, n_ended, n_at_block, current;
    int n_at_warp[MAX_THREADS / 32];
    struct fiber *idle, *running;
    struct place scheduler;
    void *scheduler_fake_stack;
    const void *scheduler_stack;
    size_t scheduler_stack_bytes;
    void (*fn)(void *context);
    void *context;
    unsigned char *shared;
    bool backwards;
} block;

[[noreturn]] void die(const char *what)
{
    fprintf(stderr, "cuda_shim: block (%u,%u,%u) thread %d: %s\n", blockIdx.x, blockIdx.y, blockIdx.z, block.current,
            what);
    abort();
}

void be_thread(int i)
{
    block.current = i;
    threadIdx = block.threads[i].index;
}

/* The i-th thread in the order of execution. */
int in_order(int i)
{
    return block.backwards ? block.n_threads - 1 - i : i;
}

[[noreturn]] __attribute__((noinline)) void go_on(struct place *p)
{
    __builtin_longjmp(p->words, 1);
}

/* Saves `here`, to be continued later, and continues at `there`, or starts it. */
__attribute__((noinline)) void change_place(struct place *here, struct place *there, const ucontext_t *start)
{
    if (__builtin_setjmp(here->words))
        return;
    if (start)
        (void)setcontext(start);
    go_on(there);
}

void to_scheduler(struct fiber *f)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&f->fake_stack, block.scheduler_stack, block.scheduler_stack_bytes);
#endif
    change_place(&f->place, &block.scheduler, NULL);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(f->fake_stack, &block.scheduler_stack, &block.scheduler_stack_bytes);
#endif
}

void to_fiber(struct fiber *f)
{
    const bool started = f->started;

    f->started = true;
    block.running = f;
    be_thread(f->thread);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&block.scheduler_fake_stack, f->stack, stack_bytes);
#endif
    change_place(&block.scheduler, &f->place, started ? NULL : &f->start);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(block.scheduler_fake_stack, NULL, NULL);
#endif
}

bool take_new_thread(struct fiber *f)
{
    if (block.n_started == block.n_threads)
        return false;
    f->thread = in_order(block.n_started++);
    block.states[f->thread] = READY;
    block.threads[f->thread].fiber = f;
    return true;
}

void fiber_main(void)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(NULL, &block.scheduler_stack, &block.scheduler_stack_bytes);
#endif
    for (;;) {
        struct fiber *f = block.running;

        block.fn(block.context);
        block.states[f->thread] = ENDED;
        block.n_ended++;
        if (take_new_thread(f)) {
            be_thread(f->thread);
            continue;
        }
        f->next_idle = block.idle;
        block.idle = f;
        to_scheduler(f);
    }
}

void prepare(struct fiber *f)
{
    (void)getcontext(&f->start);
    f->start.uc_stack.ss_sp = f->stack;
    f->start.uc_stack.ss_size = stack_bytes;
    makecontext(&f->start, fiber_main, 0);
}

/* Stacks are kept for later launches. */
struct fiber *idle_fiber(void)
{
    struct fiber *f = block.idle;

    if (f) {
        block.idle = f->next_idle;
        return f;
    }
    f = (struct fiber *)calloc(1, sizeof *f);
    if (f)
        f->stack = (char *)mmap(NULL, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!f || f->stack == MAP_FAILED)
        die("no memory for a stack");
    prepare(f);
    return f;
}

/* The current thread waits. */
void wait_as(enum state state)
{
    block.states[block.current] = state;
    to_scheduler(block.threads[block.current].fiber);
}

void make_ready(int first, int n)
{
    for (int i = first; i < first + n; i++)
        block.states[i] = READY;
}

/* True when all threads that have not ended wait at the barrier; then they become ready. */
bool release_block(void)
{
    if (block.n_at_block < block.n_threads)
        return false;
    make_ready(0, block.n_threads);
    block.n_at_block = 0;
    return true;
}

/* Runs 32 threads, in the order of execution from `first` on, until all of them have ended or wait for other warps. */
bool run_warp(int first)
{
    bool moved = false, again = true;

    while (again) {
        again = false;
        for (int i = first; i < first + 32 && i < block.n_threads; i++) {
            int thread = in_order(i);

            if (block.states[thread] > READY)
                continue;
            if (block.states[thread] == NEW) {
                struct fiber *f = idle_fiber();

                (void)take_new_thread(f);
                to_fiber(f);
            } else {
                to_fiber(block.threads[thread].fiber);
            }
            moved = again = true;
        }
    }
    return moved;
}

/* One warp runs as far ahead of the others as barriers allow. */
void run_block(void)
{
    block.n_started = block.n_ended = block.n_at_block = 0;
    memset(block.n_at_warp, 0, sizeof block.n_at_warp);
    for (int i = 0; i < block.n_threads; i++) {
        block.states[i] = NEW;
        block.threads[i].n_copies = block.threads[i].n_groups = 0;
    }
    while (block.n_ended < block.n_threads) {
        bool moved = release_block();

        for (int first = 0; first < block.n_threads; first += 32)
            moved = run_warp(first) || moved;
        if (!moved)
            die("threads wait at a barrier that others do not reach");
    }
}

void check_guard(size_t shared_bytes)
{
    for (size_t i = 0; i < GUARD; i++)
        if (block.shared[shared_bytes + i] != GUARD_BYTE)
            die("wrote past the end of shared memory");
}

float bf16(const void *p)
{
    uint16_t bits;

    memcpy(&bits, p, sizeof bits);
    return bf16_to_f32(bits);
}

} /* namespace */

dim3 threadIdx, blockIdx, blockDim, gridDim;
long cuda_shim_launches;

void cuda_shim_backwards(bool backwards)
{
    block.backwards = backwards;
}

int cuda_shim_run(dim3 grid, dim3 size, size_t shared_bytes, void (*thread)(void *context), void *context)
{
    unsigned n = size.x * size.y * size.z;

    if (n == 0 || n > MAX_THREADS || grid.x == 0 || grid.x > 0x7fffffffu || grid.y == 0 || grid.y > 65535 ||
        grid.z == 0 || grid.z > 65535 || shared_bytes > SHARED_MAX)
        return cudaErrorInvalidValue;
    block.n_threads = (int)n;
    block.fn = thread;
    block.context = context;
    block.shared = (unsigned char *)malloc(shared_bytes + GUARD);
    if (!block.shared)
        return cudaErrorMemoryAllocation;
    gridDim = grid;
    blockDim = size;
    for (unsigned i = 0; i < n; i++)
        block.threads[i].index = dim3(i % size.x, i / size.x % size.y, i / (size.x * size.y));
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
                memset(block.shared, 0xff, shared_bytes);
                memset(block.shared + shared_bytes, GUARD_BYTE, GUARD);
                run_block();
                check_guard(shared_bytes);
            }
    free(block.shared);
    return cudaSuccess;
}

void *cuda_shim_shared(void)
{
    return block.shared;
}

int cuda_shim_allow_shared(size_t bytes)
{
    return bytes > SHARED_MAX ? cudaErrorInvalidValue : cudaSuccess;
}

void __syncthreads(void)
{
    block.n_at_block++;
    wait_as(AT_BLOCK);
}

void cuda_shim_warp(void *mine, void (*work)(void *const lanes[32]))
{
    int first = block.current & ~31;
    void *lanes[32];

    if (first + 32 > block.n_threads)
        die("a warp operation in a warp of fewer than 32 threads");
    block.threads[block.current].lane = mine;
    if (++block.n_at_warp[first / 32] < 32) {
        wait_as(AT_WARP);
        return;
    }
    block.n_at_warp[first / 32] = 0;
    make_ready(first, 32);
    for (int i = 0; i < 32; i++)
        lanes[i] = block.threads[first + i].lane;
    if (work)
        work(lanes);
}

void __syncwarp(void)
{
    cuda_shim_warp(NULL, NULL);
}

uint32_t bf16_pair(float low, float high)
{
    return f32_to_bf16(low) | (uint32_t)f32_to_bf16(high) << 16;
}

float half_value(uint16_t bits)
{
    return f16_to_f32(bits);
}

float exp2_fast(float x)
{
    return exp2f(x);
}

struct lane_xor_call {
    float value;
    int mask;
};

static void lane_xor_work(void *const lanes[32])
{
    float values[32];

    for (int i = 0; i < 32; i++)
        values[i] = ((struct lane_xor_call *)lanes[i])->value;
    for (int i = 0; i < 32; i++) {
        struct lane_xor_call *call = (struct lane_xor_call *)lanes[i];

        call->value = values[(i ^ call->mask) & 31];
    }
}

float lane_xor(float value, int mask)
{
    struct lane_xor_call call = { value, mask };

    cuda_shim_warp(&call, lane_xor_work);
    return call.value;
}

void copy_async_16(void *shared, const void *global, bool wanted)
{
    struct thread *t = &block.threads[block.current];
    struct copy *copy = &t->copies[t->n_copies];

    if (t->n_copies++ == MAX_COPIES)
        die("too many copies under way");
    if ((uintptr_t)shared % 16 || (uintptr_t)global % 16)
        die("a copy of 16 bytes that is not aligned");
    copy->to = shared;
    copy->group = t->n_groups;
    memset(copy->bytes, 0, sizeof copy->bytes);
    if (wanted)
        memcpy(copy->bytes, global, sizeof copy->bytes);
    memset(shared, 0xff, sizeof copy->bytes);
}

/* Performs the copies of the groups before `end`. */
static void finish_copies(struct thread *t, int end)
{
    int n = 0;

    for (int i = 0; i < t->n_copies; i++)
        if (t->copies[i].group < end)
            memcpy(t->copies[i].to, t->copies[i].bytes, sizeof t->copies[i].bytes);
        else
            t->copies[n++] = t->copies[i];
    t->n_copies = n;
}

void copy_async_wait(void)
{
    struct thread *t = &block.threads[block.current];

    finish_copies(t, t->n_groups + 1);
}

void copy_async_group(void)
{
    block.threads[block.current].n_groups++;
}

void cuda_shim_wait_but(int n_last)
{
    struct thread *t = &block.threads[block.current];

    finish_copies(t, t->n_groups - n_last);
}

struct load_call {
    const uint8_t *row;
    uint32_t *ret;
};

static void load_work(void *const lanes[32])
{
    for (int i = 0; i < 32; i++)
        for (int m = 0; m < 4; m++)
            memcpy(&((struct load_call *)lanes[i])->ret[m],
                   ((struct load_call *)lanes[8 * m + i / 4])->row + 4 * (i % 4), 4);
}

static void load_transposed_work(void *const lanes[32])
{
    for (int i = 0; i < 32; i++)
        for (int m = 0; m < 4; m++)
            for (int half = 0; half < 2; half++)
                memcpy((uint16_t *)&((struct load_call *)lanes[i])->ret[m] + half,
                       ((struct load_call *)lanes[8 * m + 2 * (i % 4) + half])->row + 2 * (i / 4), 2);
}

static void load_rows(uint32_t ret[4], const void *row, void (*work)(void *const lanes[32]))
{
    struct load_call call = { (const uint8_t *)row, ret };

    if ((uintptr_t)row % 16)
        die("a row of a matrix that is not aligned");
    cuda_shim_warp(&call, work);
}

void load_matrices(uint32_t ret[4], const void *row)
{
    load_rows(ret, row, load_work);
}

void load_matrices_transposed(uint32_t ret[4], const void *row)
{
    load_rows(ret, row, load_transposed_work);
}

struct product_call {
    float *sum;
    const uint32_t *a;
    uint32_t b[2];
};

/* Assembles matrices from the fragments, PTX ISA 9.7.14.5.8 (mma.m16n8k16). */
static void product_work(void *const lanes[32])
{
    float a[16][16], b[16][8];

    for (int i = 0; i < 32; i++) {
        const struct product_call *call = (const struct product_call *)lanes[i];
        int g = i / 4, t = 2 * (i % 4);

        for (int half = 0; half < 2; half++) {
            for (int r = 0; r < 4; r++)
                a[g + 8 * (r & 1)][t + 8 * (r >> 1) + half] = bf16((const uint16_t *)&call->a[r] + half);
            for (int r = 0; r < 2; r++)
                b[t + 8 * r + half][g] = bf16((const uint16_t *)&call->b[r] + half);
        }
    }
    for (int i = 0; i < 32; i++)
        for (int r = 0; r < 4; r++) {
            float *sum = &((struct product_call *)lanes[i])->sum[r];
            double value = *sum;

            for (int k = 0; k < 16; k++)
                value += (double)a[i / 4 + 8 * (r >> 1)][k] * b[k][2 * (i % 4) + (r & 1)];
            *sum = (float)value;
        }
}

void matrix_product(float sum[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    struct product_call call = { sum, a, { b0, b1 } };

    cuda_shim_warp(&call, product_work);
}
