/*
 * fake_device - the CUDA backend of the unit tests: the CPU under another name, which claims to run behind its caller
 * and can break as a device does. backend_open(BACKEND_CUDA) opens it while it is plugged in; otherwise there is no
 * device. build/faulty-worker has it as well: there the environment variable FAKE_DEVICE is fake_device()'s n, and with
 * FAKE_DEVICE_HANGS that product never ends.
 */
#ifndef TEST_SUPPORT_FAKE_FAKE_DEVICE_H
#define TEST_SUPPORT_FAKE_FAKE_DEVICE_H

/* n < 0: unplugged; 0: sound; n > 0: the n-th product from now on, and everything after it, ends in a device fault. */
void fake_device(int n);

#endif
