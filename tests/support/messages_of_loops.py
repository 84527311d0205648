"""Errors of minimisations, packing and checkpoints: their classes, what the messages must name, and how to meet them."""

import ctypes
import pickle

import numpy as np
from problems import pair, scipy_minimize, square
from scipy import LowLevelCallable, optimize

import fastopt as fo
from fastopt._optimizer import files

TWO = [2.0, 1.0]


def minimize(x0=TWO, fun=pair, jac=True, **arguments):
    """Minimize squares, with these arguments."""
    return lambda: fo.minimize(fun, x0, jac=jac, **arguments)


def option(**options):
    """Minimize squares with these options by SciPy."""
    return lambda: scipy_minimize(pair, TWO, jac=True, options=options)


def resumed(x0=TWO, method="adam", options=None, **arguments):
    """Go on with another run than the one that was saved."""

    def call():
        fo.minimize(pair, TWO, jac=True, checkpoint="run.npz", resume=True, options={"maxiter": 3})
        fo.minimize(pair, x0, jac=True, method=method, checkpoint="run.npz", resume=True, options=options, **arguments)

    return call


def files_of_optimizers():
    fo.Adam(np.ones(2)).save("other.npz")
    fo.Minimizer(TWO).load("other.npz")


def changed_file():
    m = fo.Minimizer(TWO)
    m.save("changed.npz")
    meta, arrays = files.read("changed.npz")
    files.write("changed.npz", meta, {name: np.ones(5) if name.endswith("best_x") else a for name, a in arrays.items()})
    m.load("changed.npz")


def packed(call):
    """Call with arrays of two dtypes that were packed."""
    return lambda: call(fo.pack({"a": np.ones(2, np.float32), "b": np.ones(3)}))


def second_run():
    fo.minimize(pair, TWO, jac=True, checkpoint="run.npz", resume=True, options={"maxiter": 1})
    fo.minimize(pair, TWO, jac=True, checkpoint="run.npz")


def ended(call):
    """Call with a minimizer whose run has ended."""

    def made():
        m = fo.Minimizer(TWO, maxiter=0)
        m.tell(1.0, TWO)
        call(m)

    return made


def of_c(*types, result=ctypes.c_double):
    """Return a function of C with these types, which nobody calls."""
    return ctypes.CFUNCTYPE(result, *types)(1)


def many(x0=((1.0, 2.0),), fun=lambda x: (x[:, 0], x), **arguments):
    """Minimize many problems with these arguments."""
    return lambda: fo.minimize_many(fun, x0, **arguments)


def sweep(**arguments):
    """Look for a learning rate with these arguments."""
    return lambda: fo.lr_find(lambda x, *_: (x @ x, 2 * x), np.ones(2), **arguments)


def gradient(fun=lambda x: (x @ x, 2 * x), **arguments):
    """Check a gradient with these arguments."""
    return lambda: fo.check_gradient(fun, np.array([1.0, 2.0]), **arguments)


POINTERS = [ctypes.c_void_p] * 3
OF_LOOPS = [
    (TypeError, ["fun: ", "argtypes", "expected double (size_t n, const double *x"], minimize(fun=of_c(*POINTERS), jac=None)),
    (TypeError, ["fun: ", "expected double (size_t"], minimize(fun=of_c(ctypes.c_int, *POINTERS), jac=None)),
    (
        TypeError,
        ["fun: a LowLevelCallable of signature 'double (int, double *)', expected double (size_t n"],
        minimize(
            fun=LowLevelCallable(of_c(ctypes.c_int, ctypes.POINTER(ctypes.c_double)), signature="double (int, double *)"), jac=None
        ),
    ),
    (TypeError, ["args: given to a compiled objective", "user_data"], minimize(fun=of_c(ctypes.c_size_t, *POINTERS), args=(1,))),
    (TypeError, ["jac: '2-point', expected none"], minimize(fun=of_c(ctypes.c_size_t, *POINTERS), jac="2-point")),
    (
        TypeError,
        ["x0: float32, expected float64 for a compiled objective"],
        minimize(np.ones(2, np.float32), fun=of_c(ctypes.c_size_t, *POINTERS)),
    ),
    (TypeError, ["fun: 5, expected a function"], minimize(fun=5)),
    (TypeError, ["callback: 5, expected a function"], minimize(callback=5)),
    (ValueError, ["x0: shape (2, 2), expected one axis", "fastopt.pack"], minimize(np.zeros((2, 2)))),
    (ValueError, ["x0: shape (0,)"], minimize([])),
    (ValueError, ["x0: complex128, expected real numbers"], minimize([1j])),
    (ValueError, ["x0: object, expected real numbers along one axis; fastopt.pack"], minimize([None])),
    (ValueError, ["x0: infinite or NaN in double precision, expected finite numbers"], minimize([np.nan])),
    (ValueError, ["jac: '2point', expected a function, True, or one of '2-point'"], minimize(jac="2point")),
    (
        ValueError,
        ["differences: 'central', expected one of"],
        lambda: scipy_minimize(square, TWO, options={"differences": "central"}),
    ),
    (TypeError, ["fun: returned 1.0, expected a pair (value, gradient), since jac=True"], minimize(fun=lambda x: 1.0)),
    (TypeError, ["fun: returned None, expected a real number"], minimize(fun=lambda x: None, jac=None)),
    (TypeError, ["fun: returned a pair, expected a real number; with jac=True a pair"], minimize(jac=None)),
    (TypeError, ["jac: returned {'a': 1}", "gather(...) of fastopt.pack"], minimize(fun=square, jac=lambda x: {"a": 1})),
    (TypeError, ["no option 'maxfev', did you mean 'maxfun'?"], option(maxfev=3)),
    (TypeError, ["Minimizer: cannot be pickled or copied, expected save(path)"], lambda: pickle.dumps(fo.Minimizer(TWO))),
    (ValueError, ["fun: returned array([1., 1.])", "a real number"], minimize(fun=lambda x: (np.ones(2), x))),
    (TypeError, ["fun: returned (1+0j)"], minimize(fun=lambda x: (1 + 0j, x))),
    (ValueError, ["jac: returned shape (2, 1), expected (2,)"], minimize(fun=square, jac=lambda x: x[:, None])),
    (TypeError, ["jac: returned None, expected 2 real numbers"], minimize(fun=square, jac=lambda x: None)),
    (TypeError, ["jac: returned [[1.0], [1.0, 2.0]]"], minimize(fun=square, jac=lambda x: [[1.0], [1.0, 2.0]])),
    (
        FloatingPointError,
        ["Infinite result encountered: the value after 0 iterations (adam, lr=0.1)"],
        minimize(fun=lambda x: (np.inf, x), options={"on_nonfinite": "raise"}),
    ),
    (ValueError, ["bounds: 1.0 above 0.0 for variable 0, expected lower <= upper"], minimize(bounds=[(1, 0), (0, 1)])),
    (ValueError, ["bounds: [0], expected 2 numbers, one for each variable"], minimize(bounds=[(0, 1)])),
    (ValueError, ["bounds: NaN, expected numbers, or None for no bound"], minimize(bounds=[(0, np.nan), (0, 1)])),
    (ValueError, ["bounds: [0, 1], expected a pair (lower, upper)"], minimize(bounds=[0, 1])),
    (ValueError, ["bounds: 5, expected a pair"], minimize(bounds=5)),
    (ValueError, ["bounds: ['a', 0], expected 2 numbers"], minimize(bounds=[("a", 1), (0, 1)])),
    (ValueError, ["bounds: ", "expected 2 numbers"], minimize(bounds=optimize.Bounds([0, 0, 0], 1))),
    (ValueError, ["bounds: not supported by ScheduleFreeSGD"], minimize(method="schedulefreesgd", bounds=[(0, 3)] * 2)),
    (ValueError, ["x_scale: [1.0, 2.0, 3.0], expected a positive number, or 2 of them"], minimize(x_scale=[1.0, 2.0, 3.0])),
    (ValueError, ["x_scale: 0, expected positive, finite numbers"], minimize(x_scale=0)),
    (ValueError, ["x_scale: 'a'"], minimize(x_scale="a")),
    (ValueError, ["method: 'adamm', did you mean 'adam'?"], minimize(method="adamm")),
    (ValueError, ["method: 'bfgs', expected one of", "adam"], minimize(method="bfgs")),
    (TypeError, ["method: None, expected the name of an optimizer, its class"], minimize(method=None)),
    (TypeError, ["expected the name of an optimizer, its class"], minimize(method=fo.Optimizer)),
    (TypeError, ["expected the name of an optimizer, its class"], minimize(method=square)),
    (TypeError, ["no option 'learning_rate', did you mean 'lr'?"], option(learning_rate=0.1)),
    (TypeError, ["no option 'max_iter', did you mean 'maxiter'?"], option(max_iter=5)),
    (TypeError, ["no option 'nonsense', expected one of"], option(nonsense=5)),
    (TypeError, ["scipy_method: no option 'momentum'"], lambda: fo.scipy_method("adam", momentum=0.9)),
    (TypeError, ["minimize: bounds: an argument, not an option"], minimize(options={"bounds": [(0, 1)]})),
    (ValueError, ["maximize: not an option here, minimize the negative function"], option(maximize=True)),
    (ValueError, ["nonfinite: not an option here, expected on_nonfinite"], option(nonfinite="skip")),
    (ValueError, ["maxiter: -1, expected a number of at least 0"], option(maxiter=-1)),
    (TypeError, ["maxiter: '5', expected a number of at least 0"], option(maxiter="5")),
    (TypeError, ["maxiter: True"], option(maxiter=True)),
    (ValueError, ["maxtime: nan, expected a number of at least 0"], option(maxtime=np.nan)),
    (ValueError, ["gtol: -1.0, expected a number of at least 0, or None"], option(gtol=-1.0)),
    (TypeError, ["target: None, expected a number"], option(target=None)),
    (ValueError, ["patience: 0, expected a whole number of at least 1"], option(patience=0)),
    (ValueError, ["patience: 1000000", "below 2**63"], option(patience=10**30)),
    (ValueError, ["maxiter: 1000000", "expected a number of at least 0"], option(maxiter=10**400)),
    (ValueError, ["x0: [[1], [2, 3]], expected numbers along one axis"], minimize([[1], [2, 3]])),
    (ValueError, ["x_scale: x0 divided by it is infinite"], minimize([1e300], x_scale=1e-20)),
    (ValueError, ["bounds: a lower one of inf or an upper one of -inf"], minimize(bounds=[(np.inf, None), (0, 1)])),
    (TypeError, ["of ctypes.PyDLL, expected one of ctypes.CDLL"], minimize(fun=ctypes.pythonapi.Py_IsInitialized)),
    (
        FileNotFoundError,
        ["checkpoint: nowhere/run.npz, expected a path in a folder that exists"],
        minimize(checkpoint="nowhere/run.npz"),
    ),
    (
        TypeError,
        ["fun: returned None, expected a real number"],
        minimize(fun=lambda x: None if x[0] > 2 else 1.0, jac=None, x0=[2.0]),
    ),
    (ValueError, ["threads: 1099511627776"], many(threads=2**40)),
    (ValueError, ["step_scale: shape (), expected (1, 2)"], many(options={"step_scale": {"x": 1}})),
    (
        TypeError,
        ["'0': float64, expected what a writable array of int64 can hold"],
        lambda: fo.pack(np.ones(2)).gather(np.ones(2), np.zeros(2, int)),
    ),
    (ValueError, ["returns: 'mean', expected one of"], option(returns="mean")),
    (ValueError, ["returns: 'average' without one, expected also ema"], option(returns="average")),
    (ValueError, ["on_nonfinite: 'skip', expected one of"], option(on_nonfinite="skip")),
    (ValueError, ["disp: -1, expected True, False or a number of iterations"], option(disp=-1)),
    (TypeError, ["history: 2, expected True or False"], option(history=2)),
    (ValueError, ["lr: -1"], option(lr=-1)),
    (
        ValueError,
        ["constraints: fastopt has bounds, not constraints", "SLSQP"],
        lambda: scipy_minimize(pair, TWO, jac=True, constraints={"type": "eq", "fun": square}),
    ),
    (RuntimeError, ["ask: the run has ended: Maximum number of iterations"], ended(lambda m: m.ask())),
    (RuntimeError, ["tell: the run has ended"], ended(lambda m: m.tell(1.0, TWO))),
    (FileExistsError, ["run.npz is there, expected resume=True to go on, or another path"], second_run),
    (ValueError, ["method: saved 'Adam', here 'Yogi'", "expected the same, or another file"], resumed(method="yogi")),
    (ValueError, ["x0: saved"], resumed([2.0, 1.5])),
    (ValueError, ["x0: saved"], resumed([2.0])),
    (ValueError, ["gtol: saved 1e-05, here 0.1; ftol: saved 1e-09, here None"], resumed(options={"gtol": 0.1, "ftol": None})),
    (ValueError, ["lr: saved 0.1, here 0.2"], resumed(options={"lr": 0.2})),
    (ValueError, ["low: saved None, here array"], resumed(bounds=[(-3, 3)] * 2)),
    (ValueError, ["x_scale: saved None, here array"], resumed(x_scale=2)),
    (ValueError, ["a file of an optimizer, expected one of a minimization"], files_of_optimizers),
    (ValueError, ["changed.npz: best_x, expected an array of shape (2,) and float64"], changed_file),
    (TypeError, ["checkpoint: 5, expected a path or a Checkpoint"], minimize(checkpoint=5)),
    (ValueError, ["path: 'a.npz' with keep=2, expected one {}"], lambda: fo.training.Checkpoint("a.npz", keep=2)),
    (ValueError, ["path: 'a{}{}' with keep=1"], lambda: fo.training.Checkpoint("a{}{}")),
    (ValueError, ["every: 0, expected a whole number of at least 1"], lambda: fo.training.Checkpoint("a.npz", every=0)),
    (ValueError, ["seconds: -1, expected a number of at least 0"], lambda: fo.training.Checkpoint("a.npz", seconds=-1)),
    (ValueError, ["x0: shape (2,), expected (problems, variables)"], many([1.0, 2.0])),
    (ValueError, ["x0: infinite or NaN"], many([[np.inf]])),
    (ValueError, ["x0: complex128, expected real numbers"], many([[1j]])),
    (TypeError, ["fun: 5, expected a function"], many(fun=5)),
    (
        TypeError,
        ["a compiled objective with args=(1,) and x0 of float64"],
        many(fun=of_c(ctypes.c_size_t, *POINTERS, ctypes.c_size_t), args=(1,)),
    ),
    (TypeError, ["fun: ", "expected double (size_t", "size_t problem)"], many(fun=of_c(ctypes.c_size_t, *POINTERS))),
    (ValueError, ["minimize_many: history, differences: of single problems"], many(options={"history": True, "differences": "cs"})),
    (ValueError, ["minimize_many: returns='average': of single problems"], many(options={"returns": "average", "ema": 0.9})),
    (ValueError, ["threads: 0, expected a whole number of at least 1, or None"], many(threads=0)),
    (ValueError, ["args: argument 1 has 3 entries, expected one for each of the 1 problems"], many(args=(1, [1, 2, 3]))),
    (TypeError, ["fun: returned 1.0, expected a pair (values, gradients)"], many(fun=lambda x: 1.0)),
    (TypeError, ["fun: returned values of object, expected real numbers"], many(fun=lambda x: (None, x))),
    (ValueError, ["fun: returned values of shape (), expected (1,)"], many(fun=lambda x: (1.0, x))),
    (ValueError, ["fun: returned gradients of shape (2,), expected (1, 2)"], many(fun=lambda x: ([1.0], x[0]))),
    (ValueError, ["minimize_many: clip_norm sums over variables"], many(options={"clip_norm": 1.0})),
    (ValueError, ["minimize_many: dog sums over variables"], many(method="dog")),
    (ValueError, ["step_scale: shape (3,), expected (1, 2), or a number"], many(options={"step_scale": np.ones(3)})),
    (AssertionError, ["gradient of '0' at (1,): 2, by differences 4"], gradient(lambda x: (x @ x, np.array([2.0, 2.0])))),
    (ValueError, ["fun: nan or infinite around these parameters"], gradient(lambda x: (np.nan, np.ones(2)))),
    (TypeError, ["fun: returned 1.0, expected a pair (value, gradients)"], gradient(lambda x: 1.0)),
    (
        ValueError,
        ["gradient of '0': float64 of shape (3,), expected real numbers of shape (2,)"],
        gradient(lambda x: (1.0, np.ones(3))),
    ),
    (ValueError, ["directions: 0, expected a whole number of at least 1"], gradient(directions=0)),
    (ValueError, ["rtol: 'a', expected a finite number of at least 0"], gradient(rtol="a")),
    (
        TypeError,
        ["parameter '0': complex128, expected an array of real numbers"],
        lambda: fo.check_gradient(square, np.ones(2) * 1j),
    ),
    (ValueError, ["steps: 3, expected a whole number of at least 5"], sweep(steps=3)),
    (ValueError, ["low: 1.0, high: 0.1, expected 0 < low < high"], sweep(low=1.0, high=0.1)),
    (ValueError, ["data: shapes [(3,), (2,)], expected equally many rows"], sweep(data=(np.ones(3), np.ones(2)))),
    (ValueError, ["batch_size: 4, expected data"], sweep(batch_size=4)),
    (
        ValueError,
        ["minimize_many: state_dtype: of single problems"],
        many(np.ones((1, 2), np.float32), options={"state_dtype": "bfloat16"}),
    ),
    (ValueError, ["returns: ASGD returns its average from minimize, expected 'best' or 'last'"], many(method="asgd")),
    (TypeError, ["Minimizer: differences: options of minimize"], lambda: fo.Minimizer(TWO, differences="cs")),
    (ValueError, ["differences: given with jac=True, expected one of them"], minimize(options={"differences": "cs"})),
    (ValueError, ["differences: given with jac='cs'"], minimize(fun=square, jac="cs", options={"differences": "cs"})),
    (ValueError, ["resume: True without a file, expected checkpoint=..."], minimize(resume=True)),
    (ValueError, ["tree: two arrays of one name among a/b, a/b"], lambda: fo.pack({"a/b": np.ones(2), "a": {"b": np.ones(2)}})),
    (
        TypeError,
        ["'0': complex128, expected what a writable array of float64 can hold"],
        lambda: fo.pack(np.ones(2)).gather(np.ones(2) * 1j),
    ),
    (ValueError, ["tree: no arrays, expected at least one"], lambda: fo.pack({})),
    (TypeError, ["'w': <U4: expected arrays of numbers"], lambda: fo.pack({"w": "text"})),
    (TypeError, ["'w': object"], lambda: fo.pack({"w": None})),
    (TypeError, ["'0': bool"], lambda: fo.pack(np.array([True]))),
    (ValueError, ["x: shape (3,), expected (2,)"], lambda: fo.pack(np.ones(2)).unpack(np.ones(3))),
    (TypeError, ["x: ndarray, expected a dict of arrays by dtype: float32, float64"], packed(lambda p: p.unpack(np.zeros(6)))),
    (ValueError, ["'b': shape (2,), expected (3,)"], packed(lambda p: p.gather({"a": np.ones(2), "b": np.ones(2)}))),
    (ValueError, ["tree: missing keys ['b']"], packed(lambda p: p.gather({"a": np.ones(2)}))),
    (ValueError, ["out: shape (1,), expected (2,)"], lambda: fo.pack(np.ones(2)).gather(np.ones(2), out=np.ones(1))),
]
