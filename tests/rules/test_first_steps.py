"""First values of state, first steps of momentum, and the NumPy optimizers of other packages that they reproduce."""

import copy
import pickle

import numpy as np
import pytest
from cases import CASES

import fastopt as fo

RNG = np.random.default_rng(5)
START = RNG.standard_normal(6)
GRADS = RNG.standard_normal((7, 6)) * np.logspace(-3, 1, 6)


def gradient_of(trace):
    """Return a function of the point that gives the next gradient, and notes the point."""
    following = iter(GRADS)

    def gradient(x, *_):
        trace.append(np.array(x, float).reshape(-1))
        return next(following).copy()

    return gradient


def steps_of(optimizer):
    """Return the parameter before each step, and after the last."""
    (x,) = optimizer.params
    trace = [x.copy()]
    for g in GRADS:
        optimizer.step([g])
        trace.append(x.copy())
    return np.array(trace)


def by_autograd(name, **options):
    optimizers = pytest.importorskip("autograd.misc.optimizers")
    trace = []
    trace.append(getattr(optimizers, name)(gradient_of(trace), START, num_iters=len(GRADS), **options))
    return trace


def by_sklearn(cls, options, **updating):
    module = pytest.importorskip("sklearn.neural_network._stochastic_optimizers")
    x = START.copy()
    optimizer = getattr(module, cls)([x], **options, **updating)
    trace = [x.copy()]
    for g in GRADS:
        optimizer.update_params([x], [g])
        trace.append(x.copy())
    return trace


def by_pints(cls, step, *numbers):
    pints = pytest.importorskip("pints")
    optimizer = getattr(pints, cls)(START, step)
    for name, x in numbers:
        getattr(optimizer, name)(x)
    trace = []
    for g in GRADS:
        (x,) = optimizer.ask()
        trace.append(np.array(x))
        optimizer.tell([(1.0, g.copy())])
    return [*trace, np.array(optimizer.ask()[0])]


def by_pennylane(cls, **options):
    pennylane = pytest.importorskip("pennylane")
    optimizer = getattr(pennylane, cls)(**options)
    x = pennylane.numpy.array(START, requires_grad=True)
    trace = [np.array(x)]
    for g in GRADS:
        (x,) = optimizer.apply_grad((g,), (x,))
        trace.append(np.array(x))
    return trace


def by_thinc():
    thinc = pytest.importorskip("thinc.api")
    optimizer = thinc.Optimizer(0.1, grad_clip=0.0, use_averages=False)
    x = START.astype(np.float32)
    trace = [x.copy()]
    for g in GRADS:
        x, _ = optimizer((0, "w"), x, g.astype(np.float32))
        trace.append(x.copy())
    return trace


def by_qiskit(**options):
    found = pytest.importorskip("qiskit_algorithms.optimizers")
    trace = []
    gradient = gradient_of(trace)
    result = found.ADAM(maxiter=len(GRADS), tol=0, **options).minimize(lambda x: 0.0, START.copy(), jac=gradient)
    return [*trace, result.x]


def rmsprop_of_tensorflow(lr, alpha, eps, momentum, inside):
    """Return steps of TensorFlow's RMSprop, as timm's RMSpropTF: the average begins at one, and eps is in the root."""
    x, v, buf, trace = START.copy(), np.ones(6), np.zeros(6), [START.copy()]
    for g in GRADS:
        v = v + (1 - alpha) * (g * g - v)
        step = g / np.sqrt(v + eps)
        buf = momentum * buf + (lr * step if inside else step)
        x = x - (buf if inside else lr * buf)
        trace.append(x)
    return trace


def adam_without_correction(lr, b1, b2, eps):
    """Return steps of the Adam of BERT's authors."""
    x, m, v, trace = START.copy(), np.zeros(6), np.zeros(6), [START.copy()]
    for g in GRADS:
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        x = x - lr * m / (np.sqrt(v) + eps)
        trace.append(x)
    return trace


def adamw_of_pybop(sizes):
    """Return steps of PyBOP's AdamW, with a size for each element and its own defaults."""
    x, m, v, trace = START.copy(), np.zeros(6), np.zeros(6), [START.copy()]
    for t, g in enumerate(GRADS, 1):
        m, v = 0.9 * m + (1 - 0.9) * g, 0.999 * v + (1 - 0.999) * g**2
        direction = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + np.finfo(float).eps)
        x = x - sizes * (direction + 0.01 * x)
        trace.append(x)
    return trace


SIZES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
OTHERS = {
    "autograd sgd": (
        lambda: by_autograd("sgd", step_size=0.1, mass=0.8),
        lambda x: fo.SGD(x, lr=0.1, momentum=0.8, dampening=0.8, first_step="damped"),
    ),
    "autograd rmsprop": (
        lambda: by_autograd("rmsprop", step_size=0.1, gamma=0.9),
        lambda x: fo.RMSprop(x, lr=0.1, alpha=0.9, eps=1e-8, initial_state={"v": 1.0}),
    ),
    "autograd adam": (lambda: by_autograd("adam", step_size=0.1), lambda x: fo.Adam(x, lr=0.1)),
    "sklearn sgd": (
        lambda: by_sklearn("SGDOptimizer", {"learning_rate_init": 0.1, "momentum": 0.8, "nesterov": False}),
        lambda x: fo.SGD(x, lr=0.1, momentum=0.8, lr_in_velocity=True),
    ),
    "sklearn nesterov": (
        lambda: by_sklearn("SGDOptimizer", {"learning_rate_init": 0.1, "momentum": 0.8}),
        lambda x: fo.SGD(x, lr=0.1, momentum=0.8, nesterov=True, lr_in_velocity=True),
    ),
    "sklearn adam": (
        lambda: by_sklearn("AdamOptimizer", {"learning_rate_init": 0.1}),
        lambda x: fo.Adam(x, lr=0.1, eps_hat=True),
    ),
    "pints Adam": (lambda: by_pints("Adam", 0.2), lambda x: fo.Adam(x, lr=0.2)),
    # Its first product of signs is that of the first gradient with itself.
    "pints IRPropMin": (
        lambda: by_pints("IRPropMin", SIZES),
        lambda x: fo.Rprop(x, lr=0.0, step_sizes=(0.0, np.inf), initial_state={"size": SIZES * 1.2}),
    ),
    "PyBOP's adamw": (
        lambda: adamw_of_pybop(SIZES),
        lambda x: fo.AdamW(x, lr=1.0, eps=np.finfo(float).eps, weight_decay=0.01, step_scale=SIZES, convention="optax"),
    ),
    "pennylane momentum": (
        lambda: by_pennylane("MomentumOptimizer", stepsize=0.1, momentum=0.8),
        lambda x: fo.SGD(x, lr=0.1, momentum=0.8, lr_in_velocity=True),
    ),
    "pennylane rmsprop": (
        lambda: by_pennylane("RMSPropOptimizer", stepsize=0.1, decay=0.8),
        lambda x: fo.RMSprop(x, lr=0.1, alpha=0.8, eps_inside=True),
    ),
    "pennylane adagrad": (
        lambda: by_pennylane("AdagradOptimizer", stepsize=0.1),
        lambda x: fo.Adagrad(x, lr=0.1, eps=1e-8, eps_inside=True),
    ),
    "pennylane adam": (
        lambda: by_pennylane("AdamOptimizer", stepsize=0.1, beta2=0.99),
        lambda x: fo.Adam(x, lr=0.1, betas=(0.9, 0.99), eps_hat=True),
    ),
    "qiskit adam": (
        lambda: by_qiskit(lr=0.1, noise_factor=1e-8),
        lambda x: fo.Adam(x, lr=0.1, betas=(0.9, 0.99), eps_hat=True),
    ),
    "qiskit amsgrad": (
        lambda: by_qiskit(lr=0.1, noise_factor=1e-8, amsgrad=True),
        lambda x: fo.Adam(x, lr=0.1, betas=(0.9, 0.99), eps_hat=True, amsgrad=True),
    ),
    "thinc adam": (by_thinc, lambda x: fo.Adam(x, lr=0.1, eps_hat=True)),
    **{
        f"TensorFlow's rmsprop, {inside}": (
            lambda inside=inside: rmsprop_of_tensorflow(0.1, 0.9, 1e-10, 0.7, inside),
            lambda x, inside=inside: fo.RMSprop(
                x, lr=0.1, alpha=0.9, eps=1e-10, momentum=0.7, eps_inside=True, lr_in_velocity=inside, initial_state={"v": 1.0}
            ),
        )
        for inside in (True, False)
    },
    "BERT's adam": (
        lambda: adam_without_correction(0.1, 0.9, 0.999, 1e-6),
        lambda x: fo.Adam(x, lr=0.1, eps=1e-6, uncorrected=True),
    ),
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_steps_of_other_packages(other):
    theirs, ours = OTHERS[other]
    expected = np.array(theirs())
    found = steps_of(ours([START.astype(expected.dtype)]))
    exact = 1e-14 if expected.dtype == np.float64 else 1e-5  # thinc's weights of moments are rounded to float32.
    assert np.abs(found - expected).max() <= exact * max(1.0, np.abs(expected).max())
    assert np.ptp(expected, axis=0).min() > 0


# Rules whose first step does not read all of their state.
OVERWRITTEN = {"adopt", "adan", "asgd", "adafactor", "dog", "prodigy"}


@pytest.mark.parametrize("case", CASES)
def test_any_state_begins_where_it_is_told_to(case, isa):
    """State that begins as another optimizer's is set makes the same steps, and others than the default."""
    x = np.array(START[:4].reshape(2, 2), np.float32)
    grads = [g[:4].reshape(2, 2).astype(np.float32) for g in GRADS]
    cls, options = CASES[case]
    first, usual = cls({"w": x}, **options), cls({"w": x.copy()}, **options)
    names = [name for name in first.state["w"] if name not in ("step", "p0", "z", "d_max", "numerator", "eta")]
    options = {**options, "first_step": "damped"} if "buf" in names and cls is fo.SGD else options
    if cls is fo.SGD and names:
        first.state["w"]["step"] = 1
    values = {name: 0.75 for name in names}
    second = cls({"w": x.copy()}, **options, initial_state=values)
    assert all(np.all(np.asarray(second.state["w"][name]) == np.float32(0.75)) for name in names)
    for name in names:
        first.state["w"][name] = np.full(np.shape(first.state["w"][name]), 0.75) if np.ndim(first.state["w"][name]) else 0.75
    for g in grads:
        for optimizer in (first, second, usual):
            optimizer.step({"w": g})
    assert np.array_equal(first.params["w"], second.params["w"])
    assert not names or not np.array_equal(usual.params["w"], second.params["w"]) or case.partition("-")[0] in OVERWRITTEN
    # It begins there again.
    second.reset()
    assert all(np.all(np.asarray(second.state["w"][name]) == np.float32(0.75)) for name in names)


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "float16", "float8"])
def test_first_values_of_each_element(state_dtype):
    v = RNG.uniform(0.1, 2.0, (30, 20))
    params = {"w": np.ones((30, 20), np.float32), "b": np.ones(3, np.float32)}
    optimizer = fo.Adam(params, state_dtype=state_dtype, initial_state={"v": {"w": v}, "m": 0.5})
    limit = {None: 1e-7, "bfloat16": 4e-3, "float16": 5e-4, "float8": 0.07}[state_dtype]
    assert np.abs(optimizer.state["w"]["v"] / v - 1).max() <= limit
    assert not optimizer.state["b"]["v"].any() and (optimizer.state["b"]["m"] == 0.5).all()
    before = optimizer.fingerprint()
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert copied.fingerprint() == before
        copied.step({"w": np.ones((30, 20)), "b": np.ones(3)})
        copied.reset()
        for name in "wb":
            assert np.array_equal(copied.state[name]["v"], optimizer.state[name]["v"])
    v[...] = 3  # The optimizer's own copy.
    optimizer.reset()
    assert optimizer.state["w"]["v"].max() < 2.5


def test_carried_numbers_begin_where_they_are_told_to(tmp_path):
    optimizer = fo.NAdam({"a": np.ones(2), "b": np.ones(2)}, initial_state={"product": {"a": 0.5}})
    assert [optimizer.state[name]["product"] for name in "ab"] == [0.5, 1.0]
    optimizer.step({"a": np.ones(2), "b": np.ones(2)})
    optimizer.save(tmp_path / "a.npz")
    other = fo.NAdam({"a": np.ones(2), "b": np.ones(2)}, initial_state={"product": {"a": 0.5}})
    other.load(tmp_path / "a.npz")
    assert other.fingerprint() == optimizer.fingerprint()
    optimizer.reset()
    assert [optimizer.state[name]["product"] for name in "ab"] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("first", "buffers"),
    [("whole", [2.0, 0.8 * 2.0 + 0.45]), ("damped", [0.4 + 0.9, 0.8 * 1.3 + 0.45])],
)
def test_the_first_step_of_momentum(first, buffers, isa):
    """The buffer begins at 0.5 where that counts; momentum is 0.8, dampening 0.55, the gradients are 2 and 1."""
    begins = {"buf": 0.5} if first == "damped" else None
    optimizer = fo.SGD([np.zeros(1)], lr=1.0, momentum=0.8, dampening=0.55, first_step=first, initial_state=begins)
    for k, g in enumerate((2.0, 1.0)):
        optimizer.step([np.full(1, g)])
        assert optimizer.state["0"]["buf"][0] == pytest.approx(buffers[k], rel=1e-15)
    assert optimizer.params[0][0] == pytest.approx(-sum(buffers), rel=1e-15)


def test_nesterov_begins_as_momentum_does(isa):
    for first, buf in (("whole", 2.0), ("damped", 2.4)):
        begins = {"buf": 0.5} if first == "damped" else None
        optimizer = fo.SGD([np.zeros(1)], lr=0.5, momentum=0.8, nesterov=True, first_step=first, initial_state=begins)
        optimizer.step([np.full(1, 2.0)])
        assert optimizer.state["0"]["buf"][0] == pytest.approx(buf)
        assert optimizer.params[0][0] == pytest.approx(-0.5 * (2.0 + 0.8 * buf))


@pytest.mark.parametrize("rule", ["Adam", "AdamW", "LAMB", "NAdam", "AdaBelief", "Adamax", "RAdam", "AdEMAMix"])
def test_bias_corrections_go_on_from_the_steps_made_before(rule, isa):
    """Two optimizers of the same moments and counts are the same, whether they were made so or have come to be so."""
    w = START.copy()
    whole = getattr(fo, rule)({"w": w}, lr=0.1)
    for g in GRADS[:4]:
        whole.step({"w": g})
    moments = {name: {"w": np.array(x)} if np.ndim(x) else x for name, x in whole.state["w"].items()}
    again = getattr(fo, rule)({"w": w.copy()}, lr=0.1, initial_state=moments)
    assert again.steps == 0 and again.state["w"]["step"] == 4
    for g in GRADS[4:]:
        whole.step({"w": g})
        again.step({"w": g})
    assert np.array_equal(again.params["w"], whole.params["w"]) and again.steps == 3
    again.steps = 5
    assert again.steps == 5 and again.state["w"]["step"] == 9


def test_what_is_uncorrected_stays_so_after_a_load(tmp_path):
    usual, plain_ = fo.Adam({"w": START.copy()}), fo.Adam({"w": START.copy()}, uncorrected=True)
    for optimizer in (usual, plain_):
        optimizer.step({"w": GRADS[0]})
    for saved, here in ((usual, {"uncorrected": True}), (plain_, {})):
        other = fo.Adam({"w": START.copy()}, **here)
        other.load_state_dict(saved.state_dict(), hyperparameters="keep")
        assert other.state["w"]["step"] == 1 + (2**40 if here else 0) and other.steps == 1
    again = fo.Adam({"w": START.copy()}, uncorrected=True)
    again.load_state_dict(plain_.state_dict())
    assert again.state["w"]["step"] == 2**40 + 1


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        ({"x": 1.0}, "initial_state: no 'x', expected one of step, m, v"),
        ({"step": 1.5}, "initial_state, step: 1.5, expected a whole number"),
        ({"step": -1}, "initial_state, step: -1"),
        ({"step": {"w": np.ones(3)}}, "initial_state, step of 'w': an array, expected a number"),
        ({"v": -1.0}, "initial_state, v of 'w': -1.0 to -1.0, expected numbers of at least 0"),
        ({"m": np.inf}, "initial_state, m of 'w': inf to inf, expected finite numbers"),
        ({"m": np.nan}, "NaN"),
        ({"m": {"w": np.ones(2)}}, r"initial_state, m of 'w': float64 of shape \(2,\)"),
        ({"m": {"u": 1.0}}, "initial_state, m: no parameter has the name 'u'"),
        ({"m": "one"}, "initial_state, m"),
        (1.0, "initial_state: 1.0, expected a dict"),
        ({"m": 1e300}, "initial_state, m of 'w': finite numbers beyond the range of float32"),
    ],
)
def test_bad_first_values(initial, message):
    w = np.ones(3, np.float32)
    with pytest.raises((TypeError, ValueError), match=message):
        fo.Adam({"w": w}, initial_state=initial)
    with pytest.raises(ValueError, match="first_step"):
        fo.SGD({"w": w}, momentum=0.9, first_step="half")
    with pytest.raises(ValueError, match="first_step: 'damped', expected a momentum"):
        fo.SGD({"w": w}, first_step="damped")
    with pytest.raises(ValueError, match="the first step overwrites buf, expected first_step='damped'"):
        fo.SGD({"w": w}, momentum=0.9, initial_state={"buf": 1.0})
