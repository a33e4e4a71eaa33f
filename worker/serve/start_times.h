/*
 * start_times - where the time of a start went: the phases from the creation of the process to `ready`, one after the
 * other, so that they add up to the total. Times are milliseconds of the monotonic clock (struct sys).
 *
 * Loading the model and asking the cloud run side by side. The chain is that of the model, which takes longest; of the
 * cloud it has what is left to wait for when the model is loaded.
 *
 * The process exists before main() runs: the kernel starts it, the dynamic linker loads its libraries, and `serve`
 * starts itself a second time for OMP_WAIT_POLICY. That age is read from /proc; where it cannot be, the phase is
 * unknown, and the total begins with main().
 *
 * Each phase is entered by one thread; durations are read once all of them are over. Zeroed: nothing is entered.
 */
#ifndef WORKER_SERVE_START_TIMES_H
#define WORKER_SERVE_START_TIMES_H

#include <stdbool.h>
#include <stdint.h>

/* Phase, its label in metrics, and the stage of the engine (struct engine_options.entered) that begins it, or "". The
 * order is that in which they run. A stage that no row names counts to the phase before it. */
#define START_PHASE_MAP(X)                    \
    X(PROCESS, "process", "")                 \
    X(SETTINGS, "settings", "")               \
    X(CONTEXT, "context", "backend")          \
    X(DOWNLOAD, "download", "download")       \
    X(WEIGHTS, "weights", "weights")          \
    X(SELF_CHECK, "self-check", "self-check") \
    X(FILES, "files", "files")                \
    X(SPEED, "speed", "speed")                \
    X(CLOUD, "cloud", "")

enum start_phase {
#define X(name, label, stage) START_##name,
    START_PHASE_MAP(X)
#undef X
        START_PHASES
};

struct start_times {
    int64_t began_ms[START_PHASES], ready_ms;
    bool is_entered[START_PHASES];
};

const char *start_phase_label(enum start_phase p);

/* The age of a process in milliseconds, by the text of its /proc/PID/stat, the clock of the same /proc (boot time) and
 * the ticks a second of its field `starttime` (proc(5)). -1: the text is another, or the process is not yet born. */
int64_t start_age_ms(const char *stat, int64_t boot_ms, int64_t ticks_per_second);
int64_t start_own_age_ms(void); /* of this process; -1: unknown */

void start_enter(struct start_times *t, enum start_phase p, int64_t now_ms);
/* Enters the process's own phase, unless its age is -1, and the one that main() begins. */
void start_main(struct start_times *t, int64_t age_ms, int64_t now_ms);
void start_enter_stage(struct start_times *t, const char *stage, int64_t now_ms);
void start_ready(struct start_times *t, int64_t now_ms);

/* Once ready. A phase lasts until the next one that was entered; 0: it was not. */
int64_t start_phase_ms(const struct start_times *t, enum start_phase p);
int64_t start_total_ms(const struct start_times *t);

#endif
