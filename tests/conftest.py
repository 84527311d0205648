"""Instruction sets, and which tests run: a sample of each cross product by default, all with ``--full``."""

import random
import zlib

import pytest

from fastopt._engine import dispatch

INTERPRETED = dispatch.ISA == dispatch.INTERPRETED
SMALL = 8  # Parameter sets of a test that always run.


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run cross products whole, and tests that build the package")
    parser.addoption("--long", action="store_true", help="run tests that take minutes or gigabytes")


if not INTERPRETED:
    dispatch.roots.select(dispatch.TABLE, "fma")  # Not what is faster here.


def ways():
    """Return each instruction set that this machine can run, with the ways of taking square roots in which kernels differ."""
    return [
        f"{isa}/{way}"
        for isa in dispatch.available()
        for way in (dispatch.roots.WAYS if isa == "x86-64-v4" else dispatch.roots.WAYS[:1])
    ]


@pytest.fixture(params=[dispatch.INTERPRETED] if INTERPRETED else ways())
def isa(request, monkeypatch):
    """Each instruction set that this machine can run, and each way of taking square roots."""
    name, _, way = request.param.partition("/")
    if INTERPRETED:
        yield name
        return
    monkeypatch.setattr(dispatch, "TABLE", dispatch.load(name))
    dispatch.roots.select(dispatch.TABLE, way)
    yield name
    dispatch.roots.select(dispatch.TABLE, "fma")


def sample(items):
    """Return items of one test so that each value of each of its parameters occurs, drawn by the test's name."""
    drawn = list(items)
    random.Random(zlib.crc32(items[0].originalname.encode())).shuffle(drawn)
    seen, kept = set(), []
    for item in drawn:
        values = {(name, repr(value)) for name, value in item.callspec.params.items()}
        if not values <= seen:
            seen |= values
            kept.append(item)
    return kept


def pytest_collection_modifyitems(config, items):
    tests = {}
    for item in items:
        tests.setdefault((item.path, item.originalname), []).append(item)
        if INTERPRETED and item.get_closest_marker("compiled"):
            item.add_marker(pytest.mark.skip(reason="of the compiled engine"))
    for of_test in tests.values():
        if len(of_test) > SMALL:
            kept = set(sample(of_test))
            for item in of_test:
                if item not in kept:
                    item.add_marker(pytest.mark.full)
    for option in ("full", "long"):
        if not config.getoption(option) and option not in config.getoption("markexpr"):
            left = [item for item in items if item.get_closest_marker(option)]
            config.hook.pytest_deselected(items=left)
            items[:] = [item for item in items if item not in set(left)]
