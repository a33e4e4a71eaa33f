/* The time between two marks on the stream is measured in the order they were set, whatever is queued after them. */
#include "test/gpu/device.h"

enum { ROWS = 64, COLS = 256, N_OPS = 20 };

static void work(struct tensor *x, const struct tensor *y)
{
    struct err err = { 0 };

    for (int i = 0; i < N_OPS; i++)
        CHECK_OK(op_axpy(device(), x, 0.5f, y, &err), err);
}

static void set_mark(int slot)
{
    struct err err = { 0 };

    CHECK_OK(device()->ops->mark(device(), slot, &err), err);
}

static double between(int from, int to)
{
    struct err err = { 0 };
    double ms = -1;

    CHECK_OK(device()->ops->elapsed(device(), from, to, &ms, &err), err);
    return ms;
}

TEST(cuda_marks__measure_the_time_between_them)
{
    struct tensor x = sample_2d(DT_F32, ROWS, COLS, 0), y = sample_2d(DT_F32, ROWS, COLS, 0);
    struct tensor dev_x = device_copy(&x), dev_y = device_copy(&y);
    int last = BACKEND_MARKS - 1;
    double once, twice, later;

    set_mark(0);
    work(&dev_x, &dev_y);
    set_mark(1);
    work(&dev_x, &dev_y);
    set_mark(last);
    work(&dev_x, &dev_y);
    once = between(0, 1);
    twice = between(0, last);
    CHECK(once > 0 && twice > once);
    set_mark(1); /* again, after all the work */
    later = between(0, 1);
    CHECK(later > twice);
    CHECK(device_done());
}
