import pytest

from fastopt.engine import dispatch


@pytest.fixture(params=dispatch.available())
def isa(request, monkeypatch):
    """Each instruction set that this machine can run."""
    monkeypatch.setattr(dispatch, "TABLE", dispatch.load(request.param))
    return request.param
