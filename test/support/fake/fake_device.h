/*
 * fake_device - the CUDA backend of the unit tests: the CPU backend under another name. It runs behind the host and can
 * fail like a device. backend_open(BACKEND_CUDA) opens it while it is plugged in, and otherwise finds no device.
 * build/faulty-worker contains it as well: FAKE_DEVICE in the environment is fake_device()'s n there, and with
 * FAKE_DEVICE_HANGS the n-th product never ends.
 */
#ifndef TEST_SUPPORT_FAKE_FAKE_DEVICE_H
#define TEST_SUPPORT_FAKE_FAKE_DEVICE_H

#include <stdbool.h>

/* n < 0: unplugged; 0: works; n > 0: the n-th product from now on, and everything after it, ends in a device fault. */
void fake_device(int n);

/* From now on the device's clock shows every time as `factor` times as long; build/faulty-worker takes the factor from
 * FAKE_DEVICE_SLOW. 1: the truth. */
void fake_device_slow(double factor);

/* Whether the device, which is there, fails when it is opened. */
void fake_device_fails_to_open(bool fails);

#endif
