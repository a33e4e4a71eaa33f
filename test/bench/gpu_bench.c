/*
 * gpu_bench - `inpaint-worker bench` as a program of its own, for machines that have a card, gcc, make and nvcc, but
 * none of the libraries for HTTP, TLS, JSON and pictures.
 */
#include "worker/cli/bench_command.h"

int main(int argc, char **argv)
{
    return bench_command(&(struct bench_command){ .name = "gpu-bench", .is_program = true }, argc, argv);
}
