"""Every error that users meet: its class, what its message must name, and how to meet it."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import scipy.sparse
import torch

import fastopt as fo
from fastopt import functional
from fastopt._engine import dispatch


def w(*shape, dtype=np.float64):
    return np.ones(shape or (3,), dtype)


def adam(**options):
    """An optimizer of one parameter after a step."""
    optimizer = fo.Adam({"w": w()}, lr=0.1, **options)
    optimizer.step({"w": w()})
    return optimizer


def grouped():
    return fo.Adam([{"params": w()}, {"params": w(), "lr": 0.5}])


def read_only(a):
    a.flags.writeable = False
    return a


def changed(path, **values):
    """Load a state of which one entry is another; a path leads to it."""
    optimizer = adam()
    state = optimizer.state_dict()
    at = state
    for key in path:
        at = at[key]
    at.update(values)
    optimizer.load_state_dict(state)


def loads(*, hyperparameters=None, steps=0, **options):
    """Load the state of another Adam."""
    optimizer = fo.Adam({"w": w()}, lr=0.1)
    for _ in range(steps):
        optimizer.step({"w": w()})
    fo.Adam({"w": w()}, **{"lr": 0.1, **options}).load_state_dict(optimizer.state_dict(), hyperparameters=hyperparameters)


def tied():
    a = w()
    return fo.Adam({"in": a, "out": a})


def endless():
    """Two schedules that set each other."""

    def first(step):
        optimizer.groups[0]["betas"] = (lambda step: first(step), 0.9)
        return 0.5

    optimizer = fo.Adam(w(), betas=(first, 0.9))
    optimizer.step(w())


def overflowing(step):
    return 2.0 ** (1024 + step)


def foreign(a):
    return a.astype(a.dtype.newbyteorder())


@fo.rule
def own(p, g, *, speed):
    return speed * g


@fo.rule
def reserved(p, g, *, ema):
    return ema * g


def scaled(*, dtype=np.float64, **options):
    return fo.SGD(w(dtype=dtype), **options)


def nested():
    found = []
    for _ in range(200):
        found = [found]
    return found


def narrow():
    return fo.Adam(w(dtype=np.float32), state_dtype="float8").state["0"]


def split():
    return fo.SGD(np.ones(3, fo.bfloat16), master="split").state["0"]


def freed():
    a = torch.ones(3)
    a.untyped_storage().resize_(0)
    return a


class Refusing:
    def __dlpack__(self, **options):
        raise BufferError("no")

    def __dlpack_device__(self):
        return 1, 0


class Raising:
    def __array__(self, dtype=None, copy=None):
        raise ValueError("no")


def within(work):
    """Do something with an optimizer in the middle of its step."""
    optimizer = fo.SGD(w(), lr=lambda step: work(optimizer))
    optimizer.step(w())


def made_read_only():
    a = w()
    optimizer = fo.SGD(a)
    read_only(a)
    optimizer.step(w())


def not_finite(g):
    shape = (8, 2) if isinstance(g, fo.RowGradient) else np.shape(g)
    if isinstance(g, float):
        g, shape = np.array([[1.0, 1, 1], [1, 1, g]]), (2, 3)
    fo.SGD(np.ones(shape), nonfinite="raise").step(g)


def rows(a, g, cls=fo.SGD, **options):
    cls(a, **options).step(g)


def broken_csr():
    found = scipy.sparse.csr_matrix(np.ones((4, 2)))
    found.indices[0] = 9
    return found


def broken_coo():
    found = scipy.sparse.coo_matrix(([1.0], ([0], [1])), (4, 2))
    found.col[0] = 5
    return found


def behind():
    a = w(4, 2)
    optimizer = fo.Adam(a, mode="exact")
    for k in range(2):
        optimizer.step(fo.RowGradient([k], w(1, 2)))
    read_only(a)
    optimizer.catch_up()


def decays():
    optimizer = fo.Adam(w(), weight_decay=0.1)
    fo.Adam(w(), weight_decay=0.1, convention="keras").load_state_dict(optimizer.state_dict())


def restores(**hyperparameters):
    optimizer = adam()
    state = optimizer.state_dict()
    state["groups"][0].update(hyperparameters)
    optimizer.load_state_dict(state, hyperparameters="restore")


def carried(**numbers):
    optimizer = fo.NAdam(w())
    optimizer.step(w())
    state = optimizer.state_dict()
    state["state"]["0"].update(numbers)
    optimizer.load_state_dict(state)


def loads_read_only():
    optimizer = adam()
    optimizer.save("a.npz")
    read_only(optimizer.params["w"])
    optimizer.load("a.npz")


def fit(**changes):
    a = w(2)
    given = {"data": np.ones((4, 2)), "optimizer": fo.SGD(a), "epochs": 1, **changes}
    return fo.training.fit(lambda p, x: (0.0, p), given.pop("params", a), given.pop("data"), given.pop("optimizer"), **given)


KEEPS = "hyperparameters={'lr': 'keep'}"
ARGUMENTS = [
    (TypeError, ["Optimizer", "a base class", "fastopt.Adam"], lambda: fo.Optimizer(w())),
    (TypeError, ["Adam: unknown learning_rate, did you mean 'lr'?"], lambda: fo.Adam(w(), learning_rate=1)),
    (TypeError, ["unknown beta1, did you mean 'betas'?"], lambda: fo.Adam(w(), beta1=0.5)),
    (TypeError, ["unknown clipnorm, did you mean 'clip_norm'?"], lambda: fo.Adam(w(), clipnorm=1)),
    (TypeError, ["unknown wd, did you mean 'weight_decay'?"], lambda: fo.Adam(w(), wd=1)),
    (TypeError, ["unknown njobs, did you mean 'threads'?"], lambda: fo.Adam(w(), njobs=1)),
    (TypeError, ["unknown foo, expected one of lr, betas", "threads"], lambda: fo.Adam(w(), foo=1)),
    (TypeError, ["SGD: an argument is given twice", "expected params, lr, momentum"], lambda: fo.SGD(w(), 0.1, lr=0.1)),
    (AttributeError, ["fastopt", "'adam'", "did you mean 'Adam'?"], lambda: fo.adam),
    (AttributeError, ["fastopt", "'nothing_like_it'"], lambda: fo.nothing_like_it),
    (
        ValueError,
        ["convention: 'keras2', expected one of 'torch', 'keras', 'optax' for Adam"],
        lambda: fo.Adam(w(), convention="keras2"),
    ),
    (
        ValueError,
        ["max_step: not supported by ScheduleFreeSGD", "two iterates"],
        lambda: fo.ScheduleFreeSGD(w(), max_step=1),
    ),
    (ValueError, ["params: one group, expected a list of groups"], lambda: fo.Adam({"params": w(), "lr": 0.1})),
    (ValueError, ["group 1: no 'params', expected [{'params'"], lambda: fo.Adam([{"params": w()}, {"lr": 0.1}])),
    (TypeError, ["group: threads is of the optimizer as a whole"], lambda: fo.Adam([{"params": w(), "threads": 1}])),
    (TypeError, ["group: unknown epsilon, did you mean 'eps'?"], lambda: fo.Adam([{"params": w(), "epsilon": 1}])),
    (ValueError, ["params: no arrays, expected at least one"], lambda: fo.Adam({})),
    (ValueError, ["params: two parameters have the name 'a/b'"], lambda: fo.Adam({"a/b": w(), "a": {"b": w()}})),
    (ValueError, ["params: the name 'a\\x00'", "a null character or half a character"], lambda: fo.Adam({"a\0": w()})),
    (ValueError, ["params: nested more than 100 deep"], lambda: fo.Adam(nested())),
    (ValueError, ["bounds: nested more than 100 deep"], lambda: fo.Adam(w(), bounds=nested())),
    (TypeError, ["amsgrad: 2, expected True or False"], lambda: fo.Adam(w(), amsgrad=2)),
    (TypeError, ["zero_grads: 'no', expected True or False"], lambda: fo.Adam(w(), zero_grads="no")),
    (TypeError, ["lr: True, expected a number or a schedule"], lambda: fo.Adam(w(), lr=True)),
    (ValueError, ["lr: nan, expected 0 <= lr, a finite number"], lambda: fo.Adam(w(), lr=np.nan)),
    (ValueError, ["beta2: 1.0, expected 0 <= beta2 < 1"], lambda: fo.Adam(w(), betas=(0.9, 1))),
    (ValueError, ["betas: 0.9, expected 2 values"], lambda: fo.Adam(w(), betas=0.9)),
    (ValueError, ["ns_steps: 2.5, expected a whole number"], lambda: fo.Muon(w(3, 3), ns_steps=2.5)),
    (ValueError, ["step_min: 3, expected at most step_max, 1"], lambda: fo.Rprop(w(), step_sizes=(3, 1))),
    (ValueError, ["lr: its schedule overflows at step 0", "expected a number"], lambda: scaled(lr=overflowing).step(w())),
    (ValueError, ["lr: its schedule overflows at step 0"], lambda: scaled(lr=overflowing).lr),
    (ValueError, ["lr: -1.0, expected 0 <= lr"], lambda: scaled(lr=lambda step: -1.0).step(w())),
    (RuntimeError, ["beta1", "schedules that set schedules without end"], endless),
    (ValueError, ["nonfinite: 'ignore', expected one of 'propagate', 'skip'"], lambda: scaled(nonfinite="ignore")),
    (ValueError, ["threads: 0, expected None or a whole number of at least 1"], lambda: scaled(threads=0)),
    (ValueError, ["accumulate: 1.5, expected a whole number of at least 1"], lambda: scaled(accumulate=1.5)),
    (ValueError, ["adjust_lr_fn: 'x', expected one of"], lambda: fo.Muon(w(3, 3), adjust_lr_fn="x")),
    (ValueError, ["nesterov: expected a momentum and no dampening"], lambda: scaled(nesterov=True)),
    (ValueError, ["state_dtype: 'bfloat16' for parameter '0' of float64"], lambda: scaled(state_dtype="bfloat16")),
    (ValueError, ["state_dtype: 'float64', expected one of None, 'float32'"], lambda: scaled(state_dtype=float)),
    (ValueError, ["master: 'float32' for float16, expected bfloat16"], lambda: scaled(dtype=np.float16, master="float32")),
    (TypeError, ["linear_decay: initial='a', expected a number"], lambda: fo.schedules.linear_decay("a", 3)),
    (ValueError, ["linear_decay: steps=0, expected at least 1"], lambda: fo.schedules.linear_decay(1.0, 0)),
    (ValueError, ["exponential_decay: every=0, expected at least 1"], lambda: fo.schedules.exponential_decay(1, 0.5, every=0)),
    (ValueError, ["exponential_decay: gamma=-1, expected at least 0"], lambda: fo.schedules.exponential_decay(1, -1)),
    (ValueError, ["constant: value=inf, expected a finite number"], lambda: fo.schedules.constant(np.inf)),
]
ATTRIBUTES = [
    (
        AttributeError,
        ["threads: nothing would read", "chosen at construction, expected as threads="],
        lambda: setattr(adam(), "threads", 1),
    ),
    (AttributeError, ["nonfinite", "expected as nonfinite="], lambda: setattr(adam(), "nonfinite", "skip")),
    (AttributeError, ["learning_rate", "did you mean optimizer.lr?"], lambda: setattr(adam(), "learning_rate", 1)),
    (AttributeError, ["lrr", "did you mean optimizer.lr?"], lambda: setattr(adam(), "lrr", 1)),
    (AttributeError, ["betas", "optimizer.groups[0]['betas'] = "], lambda: setattr(adam(), "betas", (0.5, 0.5))),
    (AttributeError, ["beta1", "optimizer.groups[0]['betas'] = "], lambda: setattr(adam(), "beta1", 0.5)),
    (AttributeError, ["momentum", "expected one of lr, betas"], lambda: setattr(adam(), "momentum", 0.5)),
    (ValueError, ["lrr: no such hyperparameter, did you mean 'lr'?"], lambda: adam().groups[0].update(lrr=1)),
    (ValueError, ["maximize: False was chosen at construction"], lambda: adam().groups[0].update(maximize=True)),
    (TypeError, ["lr: a hyperparameter cannot be deleted"], lambda: adam().groups[0].pop("lr")),
    (ValueError, ["steps: -1, expected a whole number of steps"], lambda: setattr(adam(), "steps", -1)),
    (ValueError, ["average: this optimizer keeps none, expected ema="], lambda: adam().average),
    (ValueError, ["average: unknown where"], lambda: fo.ScheduleFreeSGD(w(), momentum=0, lr=lambda t: 0.0).average),
    (ValueError, ["add_group: this optimizer was not built from groups"], lambda: adam().add_group({"params": w()})),
    (ValueError, ["add_group: expected a dict with 'params'"], lambda: grouped().add_group([w()])),
    (KeyError, ["state of 'w': 'n', expected one of 'step', 'm', 'v'"], lambda: adam().state["w"].update(n=1)),
    (TypeError, ["state of 'w': 'm' cannot be deleted, expected another value, or reset()"], lambda: adam().state["w"].pop("m")),
    (ValueError, ["state 'm' of 'w': shape (2,), expected (3,)"], lambda: adam().state["w"].update(m=w(2))),
    (TypeError, ["state 'm' of 'w': complex128, expected numbers of float64"], lambda: adam().state["w"].update(m=1j * w())),
    (TypeError, ["state 'm' of 'w': a masked array", "filled"], lambda: adam().state["w"].update(m=np.ma.ones(3))),
    (ValueError, ["state 'm' of '0': finite numbers beyond the range of float32"], lambda: narrow().update(m=np.full(3, 1e300))),
    (
        ValueError,
        ["state 'v' of '0': -1.0 to -1.0, expected finite numbers of at least 0", "float8"],
        lambda: narrow().update(v=-w()),
    ),
    (ValueError, ["state 'master' of '0': numbers that are not the parameter's"], lambda: split().update(master=np.full(3, 7.0))),
    (TypeError, ["name: int, expected one of 'w'"], lambda: adam().explain(0, 0, 1.0)),
    (KeyError, ["'x': no such parameter, expected one of 'w'"], lambda: adam().explain("x", 0, 1.0)),
    (
        IndexError,
        ["slice(None, None, None): not one element of 'w', whose shape is (3,)"],
        lambda: adam().explain("w", slice(None), 1.0),
    ),
    (ValueError, ["explain: parameter '0' is complex"], lambda: scaled(dtype=complex).explain("0", 0, 1.0)),
    (ValueError, ["explain: lars needs sums over whole arrays"], lambda: fo.LARS(w()).explain("0", 0, 1.0)),
]
ARRAYS = [
    (ValueError, ["parameter 'in' and parameter 'out' share memory", "tied", "the sum of their gradients"], tied),
    (ValueError, ["parameter '0' and parameter '1' share memory"], lambda: fo.Adam((lambda a: [a, a[1:]])(w()))),
    (ValueError, ["parameter '0': read-only", "a.flags.writeable = True, or np.array(a)"], lambda: fo.Adam(read_only(w()))),
    (ValueError, ["read-only memory of bytes", "np.array(a)"], lambda: fo.Adam(np.frombuffer(bytes(24)))),
    (ValueError, ["read-only memory", "np.array(a)"], lambda: fo.Adam(np.asarray(jnp.ones(3)))),
    (ValueError, ["its elements share memory"], lambda: fo.Adam(np.lib.stride_tricks.as_strided(w(), (3,), (0,), writeable=True))),
    (TypeError, ["parameter '0': a masked array", "a.filled(0)"], lambda: fo.Adam(np.ma.ones(3))),
    (TypeError, ["parameter '0': float, expected a NumPy array"], lambda: fo.Adam(1.0)),
    (TypeError, ["parameter '0': dtype int64, expected float32, float64"], lambda: fo.Adam(np.arange(3))),
    (TypeError, ["dtype uint16", "a.view(fastopt.bfloat16)"], lambda: fo.Adam(np.arange(3, dtype=np.uint16))),
    (TypeError, ["parameter '0'", "in foreign byte order, expected native"], lambda: fo.Adam(foreign(w()))),
    (
        TypeError,
        ["parameter '0': a tensor on meta, expected a dense one on the CPU"],
        lambda: fo.Adam(torch.ones(3, device="meta")),
    ),
    (TypeError, ["a tensor of layout torch.sparse_coo, expected a dense one"], lambda: fo.Adam(torch.ones(3).to_sparse())),
    (TypeError, ["a tensor whose memory was freed"], lambda: fo.Adam(freed())),
    (
        TypeError,
        ["a tensor that does not share its memory", "conjugate"],
        lambda: fo.Adam(torch.ones(3, dtype=torch.complex64).conj()),
    ),
    (TypeError, ["parameter '0': Refusing, which does not share its memory: no"], lambda: fo.Adam(Refusing())),
    (TypeError, ["parameter '0': complex128, expected a real dtype for adafactor"], lambda: fo.Adafactor(w(3, 3, dtype=complex))),
    (ValueError, ["bounds of '0': low above high"], lambda: scaled(bounds=(1, 0))),
    (TypeError, ["bounds of '0': complex128 has no order"], lambda: scaled(dtype=complex, bounds=(0, 1))),
    (ValueError, ["bounds: expected (low, high)", "tuple(np.array(b, float).T)"], lambda: scaled(bounds=[(0, 1)] * 3)),
    (ValueError, ["bounds: ((0, 1), (0, 1)), which may be (low, high) or a pair"], lambda: fo.SGD(w(2), bounds=((0, 1), (0, 1)))),
    (
        ValueError,
        ["bounds of '0': no number of float32 is between"],
        lambda: scaled(dtype=np.float32, bounds=(1 + 1e-12, 1 + 2e-12)),
    ),
    (TypeError, ["bounds and step_scale: a masked array"], lambda: scaled(step_scale=np.ma.ones(3))),
    (
        ValueError,
        ["step_scale of '0': -1.0 to 1.0, expected finite factors of at least 0"],
        lambda: scaled(step_scale=np.array([1, 1, -1])),
    ),
    (
        ValueError,
        ["step_scale of '0': float64 of shape (2,), expected a number or an array of shape (3,)"],
        lambda: scaled(step_scale=w(2)),
    ),
    (ValueError, ["step_scale: for ['x'], expected a number", "['w']"], lambda: fo.SGD({"w": w()}, step_scale={"x": w()})),
    (ValueError, ["step_scale: lists of different lengths"], lambda: fo.SGD(w(2, 2), step_scale=[[1.0], [1.0, 2.0]])),
    (ValueError, ["step_scale of '0': NaN, expected a number"], lambda: scaled(step_scale=np.nan)),
]
GRADIENTS = [
    (TypeError, ["gradients: ndarray, expected a mapping as for the parameters"], lambda: adam().step(w())),
    (ValueError, ["gradients: 1 entries, expected 2"], lambda: fo.SGD([w(), w()]).step([w()])),
    (ValueError, ["gradients: missing keys ['w'], unexpected keys ['x']"], lambda: adam().step({"x": w()})),
    (ValueError, ["gradient of 'w': shape (2,), expected (3,)"], lambda: adam().step({"w": w(2)})),
    (TypeError, ["gradient of 'w': dtype int64, expected a real floating-point dtype"], lambda: adam().step({"w": np.arange(3)})),
    (TypeError, ["gradient of 'w'", "in foreign byte order"], lambda: adam().step({"w": foreign(w())})),
    (TypeError, ["gradient of 'w': a masked array", "g.filled(0)"], lambda: adam().step({"w": np.ma.ones(3)})),
    (TypeError, ["gradient of 'w': str, expected an array"], lambda: adam().step({"w": "x"})),
    (TypeError, ["gradient of 'w': Raising, which gives no array: no"], lambda: adam().step({"w": Raising()})),
    (ValueError, ["gradient of '0': shares memory with parameter '0'"], lambda: (lambda a: fo.SGD(a).step(a))(w())),
    (ValueError, ["step() without gradients", "bind(grads)"], lambda: adam().step()),
    (TypeError, ["gradient of 'w': float, expected an array to bind"], lambda: adam().bind({"w": 1.0})),
    (
        ValueError,
        ["gradient of 'w': read-only", "zero_grads"],
        lambda: fo.SGD({"w": w()}, zero_grads=True).bind({"w": read_only(w())}),
    ),
    (ValueError, ["scale: inf, expected a number between"], lambda: adam().step({"w": w()}, scale=np.inf)),
    (RuntimeError, ["this optimizer is at work"], lambda: within(lambda o: o.reset())),
    (RuntimeError, ["this optimizer has no parameters"], lambda: fo.Adam.__new__(fo.Adam).step(w())),
    (ValueError, ["parameter '0': made read-only, expected a writable array"], made_read_only),
    (FloatingPointError, ["gradient of '0': 1 element is infinite or NaN, the first at [1, 2]: nan"], lambda: not_finite(np.nan)),
    (
        FloatingPointError,
        ["2 elements are", "the first at [7, 1]: inf"],
        lambda: not_finite(fo.RowGradient([7, 3], np.array([[1.0, np.inf], [np.inf, 1]]))),
    ),
    (FloatingPointError, ["the first at [1, 0]: -inf"], lambda: not_finite(scipy.sparse.csr_matrix([[0, 1], [-np.inf, 0]]))),
    (FloatingPointError, ["the first at (): inf"], lambda: not_finite(np.array(np.inf))),
    (FloatingPointError, ["the first at [1]: nan"], lambda: not_finite(jnp.array([1.0, np.nan]))),
    (
        FloatingPointError,
        ["gradient of '0'", "so are elements of 1 more"],
        lambda: fo.SGD([w(), w()], nonfinite="raise").step([w() * np.nan] * 2),
    ),
    (ValueError, ["values: shape (2,), expected one row for each of 1 indices"], lambda: fo.RowGradient([0], w(2))),
    (TypeError, ["values: dtype int64, expected a floating-point dtype"], lambda: fo.RowGradient([0], np.ones((1, 2), int))),
    (TypeError, ["indices: float64 of shape (1,), expected whole numbers of shape (k,)"], lambda: fo.RowGradient([0.5], w(1, 2))),
    (ValueError, ["indices: -1 to -1, expected rows from 0 on"], lambda: fo.RowGradient([-1], w(1, 2))),
    (ValueError, ["gradient of '0': row 9, expected rows below 4"], lambda: rows(w(4, 2), fo.RowGradient([9], w(1, 2)))),
    (ValueError, ["of rows, expected a number: the parameter has no axis"], lambda: rows(np.array(1.0), fo.RowGradient([0], w(1)))),
    (ValueError, ["csr_matrix of shape (2, 2), expected (4, 2)"], lambda: rows(w(4, 2), scipy.sparse.csr_matrix((2, 2)))),
    (ValueError, ["gradient of '0': csr_matrix"], lambda: rows(w(4, 2), broken_csr())),
    (ValueError, ["coo_matrix: col 5 to 5, expected from 0 to 1"], lambda: rows(w(4, 2), broken_coo())),
    (ValueError, ["in C order"], lambda: rows(np.asfortranarray(w(4, 2)), fo.RowGradient([0], w(1, 2)))),
    (ValueError, ["of rows, which muon does not support"], lambda: rows(w(4, 2), fo.RowGradient([0], w(1, 2)), fo.Muon)),
    (ValueError, ["of rows, not with accumulate=2"], lambda: rows(w(4, 2), fo.RowGradient([0], w(1, 2)), accumulate=2)),
    (
        ValueError,
        ["share the exponents of state in float8"],
        lambda: rows(w(4, 2, dtype="f"), fo.RowGradient([0], w(1, 2)), fo.Adam, state_dtype="float8"),
    ),
    (
        ValueError,
        ["norms sums over all rows", "expected mode='lazy'"],
        lambda: rows(w(4, 2), fo.RowGradient([0], w(1, 2)), norms=True, mode="exact"),
    ),
    (ValueError, ["rows of '0': it has none"], lambda: fo.SGD(np.array(1.0)).catch_up([0])),
]
FUNCTIONS = [
    (ValueError, ["t: 0, expected the number of this step: 1, 2, ..."], lambda: functional.sgd(w(), w(), t=0)),
    (ValueError, ["t: True, expected the number"], lambda: functional.sgd(w(), w(), t=True)),
    (TypeError, ["eps_hat: 'x', expected True or False"], lambda: functional.adam(w(), w(), w(), w(), t=1, eps_hat="x")),
    (TypeError, ["p: dtype float16, expected float32"], lambda: functional.sgd(w(dtype=np.float16), w(), t=1)),
    (ValueError, ["m: shape (2,), expected (3,)"], lambda: functional.adam(w(), w(), w(2), w(), t=1)),
    (TypeError, ["m: dtype float32, expected float64"], lambda: functional.adam(w(), w(), w(dtype="f"), w(), t=1)),
    (TypeError, ["out: int, expected None or (p,)"], lambda: functional.sgd(w(), w(), t=1, out=1)),
    (
        ValueError,
        ["out, v: shares memory with m"],
        lambda: (lambda m: functional.adam(w(), w(), m, w(), t=1, out=(w(), w(), m)))(w()),
    ),
    (ValueError, ["product: not given, expected what the step before returned"], lambda: functional.nadam(w(), w(), w(), w(), t=2)),
    (TypeError, ["rule: 3, expected a function"], lambda: fo.rule(3)),
    (TypeError, ["rule: 3, expected what fastopt.rule makes"], lambda: fo.optimizer(3, w())),
    (TypeError, ["rule: 3, expected what fastopt.rule makes"], lambda: fo.compile(3)),
    (TypeError, ["rule: 3, expected what fastopt.rule makes"], lambda: fo.testing.check_rule(3)),
    (TypeError, ["own: speed: no default, expected speed=...", "pace: unknown"], lambda: fo.optimizer(own, w(), pace=1)),
    (TypeError, ["own: speed: no default, expected speed=..."], lambda: fo.testing.check_rule(own)),
    (RuntimeError, ["own.scalars: this rule is already in use"], lambda: (own.formula, own.scalars(lambda t, *, speed: {}))),
    (SyntaxError, ["reserved: the hyperparameter ema would be an option"], lambda: fo.optimizer(reserved, w(), ema=1)),
    (TypeError, ["optimizer: 3, expected an optimizer of NumPy arrays"], lambda: fo.testing.reference_step(3, w())),
    (TypeError, ["data 0: ndarray of object, expected an array of numbers"], lambda: fit(data=np.array([None]))),
    (ValueError, ["data: lengths [4, 3], expected the same"], lambda: fit(data=(w(4), w(3)))),
    (TypeError, ["optimizer: 3, expected an optimizer of these params"], lambda: fit(optimizer=3)),
    (ValueError, ["params: not the arrays that the optimizer updates"], lambda: fit(params=w(2))),
    (ValueError, ["epochs=0", "expected at least 1"], lambda: fit(epochs=0)),
]
FILES = [
    (ValueError, ["lr of group 0: saved 0.1, here 0.2", KEEPS, "'restore'"], lambda: loads(lr=0.2)),
    (ValueError, ["maximize of group 0: saved False, here True", "keep"], lambda: loads(maximize=True)),
    (
        ValueError,
        ["maximize of group 0: False cannot be restored", "'keep'"],
        lambda: loads(maximize=True, hyperparameters="restore"),
    ),
    (ValueError, ["hyperparameters: 'no', expected None, 'keep' or 'restore'"], lambda: loads(hyperparameters="no")),
    (
        ValueError,
        ["hyperparameters: no 'learning_rate', did you mean 'lr'?"],
        lambda: loads(hyperparameters={"learning_rate": "keep"}),
    ),
    (ValueError, ["seed: saved 0, here 1; construct with it"], lambda: loads(seed=1)),
    (ValueError, ["mode: saved 'lazy', here 'exact'"], lambda: loads(mode="exact")),
    (
        ValueError,
        ["nonfinite: saved 'propagate', here 'skip'", "hyperparameters={'nonfinite': 'keep'}"],
        lambda: loads(nonfinite="skip"),
    ),
    (ValueError, ["ema: saved without averages"], lambda: loads(ema=0.9, hyperparameters="keep")),
    (ValueError, ["weight_decay of group 0: saved as"], decays),
    (ValueError, ["state: not of format", "state_dict and save make"], lambda: adam().load_state_dict({})),
    (ValueError, ["state: of SGD, expected Adam"], lambda: changed([], optimizer="SGD")),
    (ValueError, ["state: rules ['x'], expected ['adam']"], lambda: changed(["groups", 0], rule="x")),
    (ValueError, ["state: missing [], unexpected ['x']"], lambda: changed(["state"], x={})),
    (ValueError, ["state: 'groups' is int, expected Sequence"], lambda: changed([], groups=3)),
    (ValueError, ["state of 'w': ['m', 'v', 'x'], expected ['m', 'v']"], lambda: changed(["state", "w"], x=w())),
    (ValueError, ["step of 'w': -1, expected a whole number of steps"], lambda: changed(["state", "w"], step=-1)),
    (ValueError, ["gathered: 1 gradients, expected less than accumulate=1"], lambda: changed([], gathered=1)),
    (ValueError, ["gathered_unit: 99, expected a whole exponent"], lambda: changed([], gathered_unit=99)),
    (ValueError, ["'m' of 'w': list, expected a NumPy array"], lambda: changed(["state", "w"], m=[1.0])),
    (ValueError, ["'m' of 'w': shape (2,), expected (3,)"], lambda: changed(["state", "w"], m=w(2))),
    (ValueError, ["'m' of 'w': dtype float32, expected float64"], lambda: changed(["state", "w"], m=w(dtype="f"))),
    (ValueError, ["betas of group 0: [0.5], expected 2 values"], lambda: restores(betas=[0.5])),
    (ValueError, ["state: malformed (TypeError"], lambda: restores(lr=[0.5])),
    (ValueError, ["product of '0': 'x', expected a number"], lambda: carried(product="x")),
    (ValueError, ["product of '0': -1.0, expected 0 <= product"], lambda: carried(product=-1.0)),
    (ValueError, ["product of '0': nan"], lambda: carried(product=np.nan)),
    (TypeError, ["extra/x: <object", "expected arrays, numbers, strings"], lambda: adam().save("a.npz", {"x": object()})),
    (TypeError, ["extra/x: ndarray of object, expected a plain array"], lambda: adam().save("a.npz", {"x": np.array([None])})),
    (FileNotFoundError, ["expected the path of a file in a folder that exists"], lambda: adam().save("no/a.npz")),
    (OSError, ["a pipe, a device or a socket, expected the path of a file"], lambda: adam().save("/dev/null")),
    (
        ValueError,
        ["not a file of fastopt's save, or damaged"],
        lambda: (Path("a.npz").write_bytes(b"x" * 99), adam().load("a.npz")),
    ),
    (FileNotFoundError, ["a.npz"], lambda: adam().load("a.npz")),
    (ValueError, ["parameter 'w': read-only, expected a writable array"], loads_read_only),
]
if dispatch.TABLE is not None:
    GRADIENTS += [(ValueError, ["parameter '0': made read-only while rows are behind"], behind)]
TABLE = [*ARGUMENTS, *ATTRIBUTES, *ARRAYS, *GRADIENTS, *FUNCTIONS, *FILES]
