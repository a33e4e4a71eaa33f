#include "test/support/fake/fake_device.h"

#include <stdlib.h>
#include <time.h>

#include "kernels/backend.h"

static struct {
    bool plugged_in, faulty, broken, fails_to_open;
    double slow;
    int products_left;
    struct backend_ops ops;
    const struct backend_ops *own;
} device = { .slow = 1 };

void fake_device(int n)
{
    device.plugged_in = n >= 0;
    device.faulty = n > 0;
    device.broken = false;
    device.products_left = n;
}

void fake_device_slow(double factor)
{
    device.slow = factor;
}

void fake_device_fails_to_open(bool fails)
{
    device.fails_to_open = fails;
}

static enum err_code fault(struct err *err)
{
    return err_set(err, ERR_GPU, "cuda: an illegal memory access was encountered");
}

static enum err_code linear(struct backend *be, struct tensor *y, const struct tensor *x, const struct weight *w,
                            const struct bias *bias, enum activation act, struct err *err)
{
    if (device.faulty && --device.products_left <= 0)
        device.broken = true;
    while (device.broken && getenv("FAKE_DEVICE_HANGS"))
        (void)nanosleep(&(struct timespec){ .tv_sec = 3600 }, NULL);
    return device.broken ? fault(err) : device.own->linear(be, y, x, w, bias, act, err);
}

static enum err_code upload(struct backend *be, void *dst, const void *src, size_t bytes, struct err *err)
{
    return device.broken ? fault(err) : device.own->upload(be, dst, src, bytes, err);
}

static enum err_code download(struct backend *be, void *dst, const void *src, size_t bytes, struct err *err)
{
    return device.broken ? fault(err) : device.own->download(be, dst, src, bytes, err);
}

static enum err_code sync(struct backend *be, struct err *err)
{
    return device.broken ? fault(err) : device.own->sync(be, err);
}

static enum err_code mark(struct backend *be, int slot, struct err *err)
{
    return device.broken ? fault(err) : device.own->mark(be, slot, err);
}

static enum err_code elapsed(struct backend *be, int from, int to, double *ret_ms, struct err *err)
{
    enum err_code rc = device.broken ? fault(err) : device.own->elapsed(be, from, to, ret_ms, err);

    if (!rc)
        *ret_ms *= device.slow;
    return rc;
}

/*
 * Replaces the function in kernels/cuda/device.c or kernels/cuda_stub.c, which the linker does not take from the
 * library.
 */
enum err_code backend_cuda_open(enum precision precision, struct backend **ret, struct err *err)
{
    const char *n = getenv("FAKE_DEVICE"), *slow = getenv("FAKE_DEVICE_SLOW");
    enum err_code rc;

    if (n)
        fake_device(atoi(n));
    if (slow)
        fake_device_slow(atof(slow));
    if (device.fails_to_open)
        return fault(err);
    if (!device.plugged_in)
        return err_set(err, ERR_UNAVAILABLE, "cuda: the unit tests have no device");
    rc = backend_cpu_open(precision == PRECISION_AUTO ? PRECISION_BF16 : precision, ret, err); /* as CUDA does */
    if (rc)
        return rc;
    device.own = (*ret)->ops;
    device.ops = *device.own;
    device.ops.linear = linear;
    device.ops.upload = upload;
    device.ops.download = download;
    device.ops.sync = sync;
    device.ops.mark = mark;
    device.ops.elapsed = elapsed;
    (*ret)->ops = &device.ops;
    (*ret)->name = "cuda";
    (*ret)->runs_behind = true;
    return ERR_OK;
}
