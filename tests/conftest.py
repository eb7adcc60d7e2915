"""Settings and fixtures that all tests share."""

import gc
import os
import sys
from contextlib import suppress

import numpy as np
import pytest
from _pytest.runner import runtestprotocol
from hypothesis import HealthCheck, settings

import xprnn
from xprnn.grad_mode import blocks, is_grad_enabled
from xprnn.settings import BACKEND, DEBUG, KERNELS, PRECISION, SEED

# Quick by default; `pytest --hypothesis-profile=deep` looks for longer. A busy machine is no fault of what is drawn.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", patient, max_examples=25, derandomize="CI" in os.environ)
settings.register_profile("deep", patient, max_examples=500)
settings.load_profile("quick")


def pytest_configure(config):
    """Workers share the cores, and so do the programs that tests start: other threads would spin in their way.

    Those of BLAS and of OpenMP do, which PyTorch and scikit-learn use. What libraries and compilers leave behind is
    large, and seldom garbage: it is looked through less often.
    """
    gc.set_threshold(50_000, 20, 20)
    with suppress(ImportError):  # a machine with a GPU need not have it for tests/gpu
        import quick_strict  # noqa: F401
    if config.getoption("numprocesses", None):
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
            os.environ.setdefault(name, "1")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish():
    """Python looks through everything once more before it ends."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Thousands of tests stay to the end: looking through all of them for garbage, again and again, would take long."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    """A worker tells how each test ended, and of its preparation and cleaning only what failed, skipped or took long.

    For a test that takes a millisecond, to tell of all three takes another.
    """
    if not hasattr(item.config, "workerinput"):
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed or report.duration >= 1.0:
            item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def small_heap():
    """Garbage is looked for among what the test makes. What was there before is passed over from now on."""
    gc.freeze()


@pytest.fixture
def impatient(monkeypatch):
    """Files are written over and over without waiting for the disk, as a rename onto an old one does too."""
    replace = os.replace

    def replace_nothing(source, target):
        with suppress(FileNotFoundError):
            os.unlink(target)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr(os, "replace", replace_nothing)


@pytest.fixture(params=["numpy", "strict", "strict on device1"])
def home(request):
    """Where a test's arrays live."""
    if request.param == "numpy":
        return xprnn.backend.get_backend("numpy")
    import array_api_strict  # here, as above

    device = array_api_strict.Device("device1") if "device1" in request.param else None
    return xprnn.backend.get_backend("array_api_strict", device)


@pytest.fixture(autouse=True)
def _settings_survive():
    """A test that changes the default backend, the forced kernels or the seed does not change the next test."""
    settings = BACKEND, DEBUG, KERNELS, PRECISION, SEED
    before, working = [setting.process for setting in settings], set(xprnn.backend.places._working)
    yield
    on = is_grad_enabled()
    blocks.last.set(None)
    assert on, "the test left recording off"
    assert sys.exc_info()[1] is None, "the test left an exception being handled"
    xprnn.backend.places._working.intersection_update(working)
    for setting, value in zip(settings, before, strict=True):
        setting.process = value
