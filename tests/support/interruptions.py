"""Exceptions at every opportunity: of signal handlers, and of allocations that fail."""

import ctypes
import signal
import sys

import numpy as np
from cases import snapshot


class Interrupted(BaseException):
    """Raised by the handler."""


def interrupted(operation, k, error=Interrupted, as_c=None):
    """Run with a signal handler that raises at the k-th place where Python runs handlers: where functions begin, and after C.

    `as_c` is a file of Python that stands for code in C, where none runs. Returns True if there was such a place.
    """
    left = k

    def handler(number, frame):
        raise error

    def count(frame, event, argument):
        nonlocal left
        if event in ("call", "c_return") and not (as_c and is_of(frame, as_c)):
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    sys.setprofile(count)
    try:
        operation()
    except error:
        pass
    finally:
        sys.setprofile(None)
        signal.signal(signal.SIGUSR1, before)
    return left <= 0


def is_of(frame, file):
    """The frame, or one that led to it, is of this file."""
    while frame is not None and frame.f_code.co_filename != file:
        frame = frame.f_back
    return frame is not None


def allocator():
    """The preloaded allocator that fails when told to (``allocator.c``); None without it."""
    found = ctypes.CDLL(None)
    return found if hasattr(found, "fail_allocation") else None


def short_of_memory(operation, k):
    """Run with the k-th allocation of an array, or of the engine, failing. Returns True if there was one."""
    preloaded = allocator()
    preloaded.fail_allocation(k - 1)
    try:
        operation()
    except MemoryError:
        pass
    finally:
        left = preloaded.allocations_left()
        preloaded.fail_allocation(-1)
    return left < 0


def all_of(optimizer, *params):
    """Return what must be the same, or wholly changed."""
    return snapshot(optimizer), optimizer._counters(), [np.array(p).tobytes() for p in params]


def is_free(optimizer):
    """The lock is released."""
    optimizer.catch_up()
    return not optimizer._at_work()
