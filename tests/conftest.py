import pytest

from fastopt._engine import dispatch

INTERPRETED = dispatch.ISA == dispatch.INTERPRETED


@pytest.fixture(params=[dispatch.INTERPRETED] if INTERPRETED else dispatch.available())
def isa(request, monkeypatch):
    """Each instruction set that this machine can run."""
    if not INTERPRETED:
        monkeypatch.setattr(dispatch, "TABLE", dispatch.load(request.param))
    return request.param


def pytest_collection_modifyitems(items):
    for item in items:
        if INTERPRETED and item.get_closest_marker("compiled"):
            item.add_marker(pytest.mark.skip(reason="of the compiled engine"))
