/*
 * fake_device - the CUDA backend of the unit tests: the CPU backend under another name. It runs behind the host and can
 * fail like a device. backend_open(BACKEND_CUDA) opens it while it is plugged in, and otherwise finds no device.
 * build/faulty-worker contains it as well: FAKE_DEVICE in the environment is fake_device()'s n there, and with
 * FAKE_DEVICE_HANGS the n-th product never ends.
 */
#ifndef TEST_SUPPORT_FAKE_FAKE_DEVICE_H
#define TEST_SUPPORT_FAKE_FAKE_DEVICE_H

/* n < 0: unplugged; 0: works; n > 0: the n-th product from now on, and everything after it, ends in a device fault. */
void fake_device(int n);

#endif
