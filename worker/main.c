/* main - runs the command; the only place that ends the process. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "models/codec/decode.h"
#include "worker/base/log.h"
#include "worker/cli/commands.h"

#define PROGRAM "inpaint-worker"

/*
 * OpenMP threads that spin while they wait take the processor from the threads they wait for; on a shared machine this
 * more than doubles the time of a job. OpenMP reads its waiting policy when the program is loaded, so the program sets
 * the policy and starts itself a second time.
 */
static void start_with_patient_threads(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT") || setenv("OMP_WAIT_POLICY", "passive", 1))
        return;
    (void)execv("/proc/self/exe", argv); /* if it fails, the threads spin */
}

/*
 * Where a standard stream is closed, the next file that is opened would get its number, and lines of the log would go
 * to a connection. Opened for reading, its place is taken, and writing to it still fails.
 */
static void take_standard_streams(void)
{
    int fd = open("/dev/null", O_RDONLY);

    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = open("/dev/null", O_RDONLY);
    if (fd > STDERR_FILENO)
        (void)close(fd);
}

int main(int argc, char **argv)
{
    int status;

    if (jail_is_child(argc, argv))
        _exit(jail_child(&decode_jail_program)); /* its libraries must not run hooks: these may not do anything */
    take_standard_streams();
    start_with_patient_threads(argv);
    status = commands_run(argc, argv);

    /* printf() only fills a buffer: a full disk shows when it is flushed */
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0) {
        perror(PROGRAM ": standard output");
        status = 1;
    }
    (void)log_flush(LOG_FLUSH_MS);
    /* not exit(): a job that ignored its cancellation may still run, and needs its libraries */
    _exit(status);
}
