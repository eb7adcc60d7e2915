"""A process forked while another of its threads holds a lock: in the child nobody would let go of it."""

import os
import threading
import time
import warnings

import pytest

from xprnn import settings, tape

LOCKS = {"gradients": lambda: tape._adding, "settings": lambda: settings.BACKEND._changing}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_locks_are_free_in_a_child(lock):
    held, forked = threading.Event(), threading.Event()

    kept = lock()  # a name that is gone fails here, and not in the thread that is waited for

    def hold():
        with kept:
            held.set()
            forked.wait()

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of what is tested here
        child = os.fork()
    if child == 0:  # asked without waiting
        os._exit(0 if lock().acquire(blocking=False) else 1)
    forked.set()
    other.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_is_forked_when_nothing_is_half_compiled():
    """It would wait for ever for the compiler, which a thread has that there is not in the child."""
    pytest.importorskip("numba")
    from numba.core.compiler_lock import global_compiler_lock
    from xprnn.kernels.cpu import compiling  # noqa: F401

    held = threading.Event()

    def compile_something():
        with global_compiler_lock:
            held.set()
            time.sleep(0.2)

    other = threading.Thread(target=compile_something)
    other.start()
    held.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os._exit(0 if global_compiler_lock._lock.acquire(blocking=False) else 1)
    other.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not global_compiler_lock.is_locked()
