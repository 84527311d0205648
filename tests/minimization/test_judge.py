"""The judge: the compiled one and its twin in NumPy agree, and each criterion ends a run where it says."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

import fastopt as fo
from fastopt.minimization import box, criteria, judge

SOURCE = Path(box.__file__).with_name("judge.py")
SPEC = importlib.util.spec_from_file_location("fastopt.minimization.interpreted_judge", SOURCE)
interpreted = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(interpreted)

FIELDS = criteria.PROGRESS.names


def pair(x, bounds, scale, options):
    """Return the compiled judge and its twin, over optimizers of equal parameters."""
    found = []
    for module in (judge, interpreted):
        made = box.make_box(bounds, scale, x)
        z = x.copy() if made.scale is None else x / made.scale
        optimizer = fo.SGD({"x": z}, lr=0.05, bounds=None if made.low is None else ({"x": made.lower}, {"x": made.upper}))
        gradient = np.zeros_like(z)
        optimizer.bind({"x": gradient})
        found.append((module.Judge(optimizer, z, gradient, made, criteria.Criteria(**options)), optimizer))
    return found


def draw(rng, dtype):
    """Return a point, options and values and gradients of a random run."""
    n = int(rng.integers(1, 12))
    x = rng.normal(size=n).astype(dtype)
    bounds = [(None, None) if rng.random() < 0.3 else tuple(np.sort(rng.normal(size=2) * 2)) for _ in range(n)]
    scale = rng.uniform(0.1, 10, n) if rng.random() < 0.5 else None
    options = {
        "patience": int(rng.integers(1, 6)),
        "gtol": rng.choice([None, 0.0, 0.3, 1.0]),
        "ftol": rng.choice([None, 0.0, 1e-3, 1.0]),
        "xtol": rng.choice([None, 0.0, 0.05]),
        "target": rng.choice([-math.inf, -1.0]),
        "maxiter": rng.choice([4, 30]),
        "maxfun": rng.choice([20, math.inf]),
    }
    awkward = [math.nan, math.inf, -math.inf, 1e300, -1e300]
    funs = np.where(rng.random(40) < 0.02, rng.choice(awkward, 40), rng.normal(size=40) + np.linspace(2, 0, 40))
    jacs = rng.normal(size=(40, n)) * rng.choice([1e-3, 1.0, 1e30], (40, 1), p=[0.2, 0.75, 0.05])
    jacs[rng.random((40, n)) < 0.003] = rng.choice(awkward)
    return x, bounds if rng.random() < 0.6 else None, scale, options, funs, jacs


@pytest.mark.skipif(judge.__file__ == str(SOURCE), reason="of the compiled judge")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid", "ignore:bounds")
def test_the_compiled_judge_agrees_with_its_twin(dtype):
    rng = np.random.default_rng(3)
    reasons = set()
    for _ in range(500):
        x, bounds, scale, options, funs, jacs = draw(rng, dtype)
        judges = pair(x, bounds, scale, options)
        for nfev, (fun, jac) in enumerate(zip(funs, jacs, strict=True), 1):
            points = [one.point() for one, _ in judges]
            assert points[0].tobytes() == points[1].tobytes() and points[0].dtype == points[1].dtype == dtype
            found = [one.tell(fun, jac.astype(dtype), nfev) for one, _ in judges]
            assert found[0] == found[1], options
            records = [np.array([float(one.progress[name]) for name in FIELDS]) for one, _ in judges]
            np.testing.assert_array_equal(*records)
            for name in ("x", "jac", "gradient", "best_x", "best_jac"):
                assert np.array_equal(*(getattr(one, name) for one, _ in judges), equal_nan=True), name
            reasons.add(found[0])
            if found[0] != criteria.GO_ON:
                break
            for _, optimizer in judges:
                optimizer.step()
    assert reasons == {*range(criteria.NO_PROGRESS + 1)}


MODULES = [judge, interpreted]


def tell(one, funs, jac=1.0):
    """Return the reasons at values in turn, with a step after each."""
    found = []
    for nfev, fun in enumerate(funs, 1):
        found.append(one.tell(fun, np.full(one.x.shape, jac), nfev))
        one.optimizer.step()
    return found


def made(module, lr=0.0, x=(1.0, 2.0), **options):
    x = np.array(x)
    optimizer, gradient = fo.SGD({"x": x}, lr=lr), np.zeros_like(x)
    optimizer.bind({"x": gradient})
    return module.Judge(
        optimizer, x, gradient, box.make_box(None, None, x), criteria.Criteria(**{"gtol": None, "ftol": None} | options)
    )


@pytest.mark.parametrize("module", MODULES)
def test_windows_of_values(module):
    """Three windows of three: the mean of the last one is not lower by enough."""
    one = made(module, ftol=0.5, patience=3)
    assert tell(one, [90.0, 8.0, 7.0, 7.6, 7.6, 7.6, 7.6, 7.6, 7.6]) == [*[0] * 8, criteria.STALLED]
    # The tolerance is relative where values are large: 7.6 needs a fall by 3.8, and then 1 one by 0.5.
    assert tell(made(module, ftol=0.5, patience=1), [7.6, 3.0, 1.2, 0.6, 0.2]) == [0, 0, 0, 0, criteria.STALLED]
    assert tell(made(module, patience=1), [1.0, 1.0, 1.0]) == [0, 0, 0]
    for funs in ([1.0, 1.0], [1.0, 2.0], [5.0, 5.0 - 1e-12], [-3.0, -3.0]):
        assert tell(made(module, ftol=1e-9, patience=1), funs) == [0, criteria.NO_PROGRESS]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(("dtype", "bound", "g"), [(np.float32, 1000.0, 2e-5), (np.float64, 1e12, 5e-5)])
def test_active_bounds_of_large_numbers(module, dtype, bound, g):
    """A gradient that is less than the spacing of numbers at a bound is projected as well."""
    x = np.full(2, bound, dtype)
    made_box = box.make_box([(None, bound), (bound, None)], None, x)
    optimizer, gradient = fo.SGD({"x": x}), np.zeros_like(x)
    optimizer.bind({"x": gradient})
    one = module.Judge(optimizer, x, gradient, made_box, criteria.Criteria())
    assert one.tell(1.0, np.array([-g, g], dtype), 1) == criteria.GRADIENT and one.progress["norm"] == 0


@pytest.mark.parametrize("module", MODULES)
def test_steps_in_a_row_that_hardly_move(module):
    one = made(module, lr=0.1, xtol=0.01, patience=2)
    assert [one.tell(0.0, np.full(2, g), 1) or one.optimizer.step() for g in (1.0, 0.05, 1.0, 0.05, 0.05, 1.0)] == [
        True,
        True,
        True,
        True,
        True,
        criteria.STILL,
    ]


@pytest.mark.parametrize("module", MODULES)
def test_a_point_is_judged_once(module):
    one = made(module, maxiter=5)
    assert one.tell(3.0, np.ones(2), 1) == one.tell(-7.0, np.zeros(2), 2) == criteria.GO_ON
    assert one.progress["fun"] == 3 and one.progress["counted"] == 1
    one.optimizer.step()
    one.tell(-7.0, np.zeros(2), 3)
    assert one.progress["best"] == -7


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_what_it_is_told_is_checked_before_anything_changes(module):
    one = made(module)
    one.tell(1.0, np.ones(2), 1)
    one.optimizer.step()
    before = one.progress.copy(), one.jac.copy()
    for fun, jac, error in (
        (None, np.ones(2), TypeError),
        ("1", np.ones(2), TypeError),
        (1j, np.ones(2), TypeError),
        (np.ones(2), np.ones(2), ValueError),
        (1.0, np.ones(3), ValueError),
        (1.0, np.ones((2, 1)), ValueError),
        (1.0, np.matrix([1.0, 2.0]), ValueError),
        (1.0, np.ones(2) * 1j, TypeError),
        (1.0, None, TypeError),
        (1.0, ["a", "b"], TypeError),
        (1.0, [[1.0], [1.0, 2.0]], TypeError),
    ):
        with pytest.raises(error, match=r"fun: returned|jac: returned"):
            one.tell(fun, jac, 2)
    assert one.progress.tobytes() == before[0].tobytes() and np.array_equal(one.jac, before[1])
    for fun, jac in ((np.float32(2), [1, 2]), (np.array([[2.0]]), np.array([1, 2], np.float16)), (2, np.arange(4.0)[::2])):
        assert one.tell(fun, jac, 2) == criteria.GO_ON
        one.optimizer.step()
