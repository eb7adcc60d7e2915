"""Pages of reports without their pictures, which take most of the time of a command with little data."""

import pytest


@pytest.fixture
def pictures():
    """For tests that look at the pictures."""


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """An empty picture in the place of each, but for tests that ask for ``pictures``."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr("xprnn.cli.report.page.drawn", lambda draw, height: b"<svg></svg>")
