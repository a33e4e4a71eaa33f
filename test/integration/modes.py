"""The two ways in which a worker meets the cloud: behind the switches for emulators, and as in production.

A test that makes a House runs in both. Standard library only.
"""
import contextvars
import functools

from fake_cloud import Cloud
from production import ProductionCloud

EMULATORS, PRODUCTION = "emulators", "production"
SUFFIX = {EMULATORS: "", PRODUCTION: "_in_production"}
CURRENT = contextvars.ContextVar("mode", default=EMULATORS)


def cloud(credentials):
    """A new cloud of the mode in which the present test runs."""
    return ProductionCloud(credentials) if CURRENT.get() == PRODUCTION else Cloud()


def suffix():
    return SUFFIX[CURRENT.get()]


def only(mode):
    """Decorates a test that is about one of the modes."""
    def mark(test):
        test.modes = (mode,)
        return test
    return mark


PRODUCTION_ONLY = only(PRODUCTION)


def in_mode(test, mode):
    @functools.wraps(test)
    def run():
        token = CURRENT.set(mode)
        try:
            test()
        finally:
            CURRENT.reset(token)
    return run


def in_all_modes(tests):
    """(name, function) of each test in each of its modes."""
    return [(name + SUFFIX[mode], in_mode(test, mode)) for mode in (EMULATORS, PRODUCTION) for name, test in tests
            if mode in getattr(test, "modes", (EMULATORS, PRODUCTION))]
