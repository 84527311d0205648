"""Competitors: for each, a function that prepares its step of a work. Their packages are imported there."""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

import fastopt as fo

from . import minimizers, models
from .references import compiler, numpy_adam, numpy_rmsprop, stream
from .works import LEARNING_RATE, Work, arrays, rows_of, stored


@dataclass(frozen=True)
class Step:
    """A competitor's step.

    Attributes
    ----------
    run : function without arguments
    params : function without arguments
        The parameters' present values, as arrays.
    steps : int
        Steps that a call of `run` makes; packages without a step have a loop.
    renew : function without arguments, optional
        Replaces all gradients by new arrays, as backpropagation does; not part of the step.
    """

    run: Callable[[], Any]
    params: Callable[[], Iterable[Any]]
    steps: int = 1
    renew: Callable[[], Any] | None = None


def step_of_fastopt(work: Work, threads: int | None = None, grads: str = "") -> Step:
    params, given = stored(work)
    grads = grads or work.grads
    if grads.startswith("epochs"):
        return whole(models.epochs, work)
    if grads.startswith("minimize"):
        return minimization(work, functools.partial(minimizers.minimizing, kind=grads.removeprefix("minimize").strip()))
    if grads == "functional":
        return functional_step(params, given)
    if grads == "torch":
        return step_of_torch(work, "fastopt")
    names = [str(i) for i in range(len(params))]
    tree, gradients = (dict(zip(names, x, strict=True)) if grads == "mapping" else x for x in (params, given))
    lr = fo.schedules.linear_decay(LEARNING_RATE, 10**12) if work.schedule else LEARNING_RATE
    optimizer: fo.Optimizer = getattr(fo, work.rule)(tree, lr=lr, threads=threads, **work.options)
    optimizer.steps = work.count
    if work.rows:
        of_rows = itertools.cycle([[fo.RowGradient(indices, values)] for indices, values in rows_of(work)])
        return Step(lambda: optimizer.step(next(of_rows)), lambda: params)
    if grads != "bound":
        return Step(functools.partial(optimizer.step, gradients), lambda: params)
    optimizer.bind(gradients)
    return Step(optimizer.step, lambda: params)


def minimization(work: Work, prepare: Callable[[int], tuple[Callable[[], Any], int]]) -> Step:
    """Return a whole minimisation, whose iterations are the steps."""
    run, steps = prepare(work.size)
    return Step(run, lambda: (), steps)


def whole(prepare: Callable[[str], tuple[Callable[[], Any], int]], work: Work) -> Step:
    """Return a run over rows of data, each of which is a step."""
    run, rows = prepare(work.grads.removeprefix("epochs "))
    return Step(run, lambda: (), rows)


def functional_step(params: Sequence[np.ndarray], grads: Sequence[np.ndarray]) -> Step:
    """Step of Adam without an object, in place."""
    parts = [(p, g, np.zeros_like(p), np.zeros_like(p)) for p, g in zip(params, grads, strict=True)]
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        for p, g, m, v in parts:
            fo.functional.adam(p, g, m, v, t=t, lr=LEARNING_RATE, out=(p, m, v))

    return Step(step, lambda: params)


def step_of_plain_adam(work: Work) -> Step:
    """Step of fastopt's Adam on float32 arrays with dense gradients, without options."""
    return step_of_fastopt(replace(work, rule="Adam", options={}, dtype="float32", rows=0, scale=1.0))


def step_of_torch(work: Work, kind: str = "fused") -> Step:
    """Step of torch's optimizer, fused if possible, or of fastopt's for torch; options become torch's separate calls."""
    import torch

    dtype = getattr(torch, work.dtype)
    params, grads = arrays(work)
    if work.rows:
        return sparse_step_of_torch(work, params[0])
    # In torch's own memory, as its users have it.
    tensors = [torch.nn.Parameter(torch.tensor(p, dtype=dtype)) for p in params]
    for tensor, g in zip(tensors, grads, strict=True):
        tensor.grad = torch.tensor(g, dtype=dtype)
    has_it = kind != "fused" or work.rule in ("SGD", "Adam", "AdamW", "Adagrad")
    if kind == "fastopt":
        optimizer: Any = fo.torch.optimizer(getattr(fo, work.rule), tensors, lr=LEARNING_RATE)
    else:
        options = {kind: True} if kind and has_it else {}
        optimizer = getattr(torch.optim, work.rule)(tensors, lr=LEARNING_RATE, **options)

    def values() -> Iterable[Any]:
        return [t.detach().float().numpy() for t in tensors]

    def renew() -> None:
        for t in tensors:
            t.grad = t.grad.clone()

    if "ema" not in work.options:
        return Step(optimizer.step, values, renew=renew)
    averages = [t.detach().clone() for t in tensors]

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(tensors, work.options["clip_global_norm"])
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, [t.detach() for t in tensors], 1 - work.options["ema"])

    return Step(step, values)


def sparse_step_of_torch(work: Work, table: np.ndarray) -> Step:
    """Step of torch's SparseAdam."""
    import torch

    parameter = torch.nn.Parameter(torch.from_numpy(table))
    gradients = itertools.cycle(
        torch.sparse_coo_tensor(torch.from_numpy(i)[None], torch.from_numpy(v), table.shape, check_invariants=False)
        for i, v in rows_of(work)
    )
    lazy = torch.optim.SparseAdam([parameter], lr=LEARNING_RATE)

    def step() -> None:
        parameter.grad = next(gradients)
        lazy.step()

    return Step(step, lambda: [table])


def step_of_torch_in_float32(work: Work) -> Step:
    """Step of torch's Muon with matrix products in float32."""
    import torch

    made, narrow = step_of_torch(work), torch.Tensor.bfloat16

    def step() -> None:
        torch.Tensor.bfloat16 = torch.Tensor.clone
        try:
            made.run()
        finally:
            torch.Tensor.bfloat16 = narrow

    return Step(step, made.params)


def step_of_deepspeed(work: Work) -> Step:
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import torch
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    params, grads = arrays(work)
    if work.dtype != "float32":
        raise TypeError("DeepSpeed's Adam keeps state of float32 alone")
    tensors = [torch.nn.Parameter(torch.tensor(p)) for p in params]
    for tensor, g in zip(tensors, grads, strict=True):
        tensor.grad = torch.tensor(g)
    optimizer = DeepSpeedCPUAdam(tensors, lr=LEARNING_RATE, adamw_mode=False)
    return Step(optimizer.step, lambda: [t.detach().numpy() for t in tensors])


def step_of_optax(work: Work) -> Step:
    """Return one compiled function of the whole update, in which JAX may overwrite parameters and state."""
    import jax
    import optax

    jax.config.update("jax_enable_x64", work.dtype == "float64")
    params, grads = ([jax.numpy.array(a) for a in x] for x in arrays(work))
    optimizer = getattr(optax, work.rule.lower())(LEARNING_RATE)
    state = optimizer.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, grads: Any) -> Any:
        changes, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, changes), state

    def step() -> None:
        nonlocal params, state
        params, state = update(params, state, grads)
        jax.block_until_ready(params)

    return Step(step, lambda: params)


def step_of_keras(work: Work) -> Step:
    """Step of Keras on its NumPy backend."""
    os.environ["KERAS_BACKEND"] = "numpy"
    import keras

    params, grads = arrays(work)
    variables = [keras.Variable(p) for p in params]
    optimizer = getattr(keras.optimizers, work.rule)(learning_rate=LEARNING_RATE, epsilon=1e-8)
    optimizer.build(variables)
    return Step(lambda: optimizer.apply(grads, variables), lambda: [np.asarray(v) for v in variables])


def step_of_numba(work: Work) -> Step:
    """Return a hand-written loop of numba over one array after another; parallel if that pays."""
    import numba

    def update(p: Any, g: Any, m: Any, v: Any, numbers: Any) -> None:
        size, eps, keep, new, keep2, new2 = numbers
        for i in numba.prange(p.size):
            m[i] = keep * m[i] + new * g[i]
            v[i] = keep2 * v[i] + new2 * g[i] * g[i]
            p[i] -= size * m[i] / (np.sqrt(v[i]) + eps)

    serial, parallel = (numba.njit(update, parallel=parallel, error_model="numpy") for parallel in (False, True))
    params, grads = arrays(work)
    parts = [[a.reshape(-1) for a in (p, g, np.zeros_like(p), np.zeros_like(p))] for p, g in zip(params, grads, strict=True)]
    calls = [(parallel if part[0].size >= 50_000 else serial, part) for part in parts]
    t, dtype = 0, params[0].dtype.type

    def step() -> None:
        nonlocal t
        t += 1
        c2 = (1 - 0.999**t) ** 0.5
        numbers = tuple(map(dtype, (LEARNING_RATE * c2 / (1 - 0.9**t), 1e-8 * c2, 0.9, 1 - 0.9, 0.999, 1 - 0.999)))
        for call, part in calls:
            call(*part, numbers)

    return Step(step, lambda: params)


def step_of_scikit_learn(work: Work) -> Step:
    from sklearn.neural_network import _stochastic_optimizers

    params, grads = arrays(work)
    optimizer = _stochastic_optimizers.AdamOptimizer(params, learning_rate_init=LEARNING_RATE)
    return Step(lambda: optimizer.update_params(params, grads), lambda: params)


def step_of_thinc(work: Work) -> Step:
    """Step of thinc, which clears the gradient afterwards; filling it again is timed too."""
    from thinc.api import Adam

    params, grads = arrays(work)
    if work.dtype != "float32":
        raise TypeError("thinc's Adam is for float32")
    cleared = [g.copy() for g in grads]
    optimizer = Adam(LEARNING_RATE, beta1=0.9, beta2=0.999, eps=1e-8, L2=0.0, grad_clip=0.0, use_averages=False)

    def step() -> None:
        for i, (p, g, buffer) in enumerate(zip(params, grads, cleared, strict=True)):
            np.copyto(buffer, g)
            params[i], _ = optimizer((i, "p"), p, buffer)

    return Step(step, lambda: params)


def one(work: Work) -> tuple[np.ndarray, np.ndarray]:
    """Return parameter and gradient for packages that step one vector."""
    ((p,), (g,)) = arrays(work)
    return p, g


def step_of_autograd(work: Work, steps: int = 1000) -> Step:
    """Steps of autograd's loop, which begins anew in each call."""
    from autograd.misc.optimizers import adam

    x, g = one(work)

    def run() -> None:
        nonlocal x
        x = adam(lambda x, i: g, x, num_iters=steps, step_size=LEARNING_RATE, eps=1e-8)

    return Step(run, lambda: [x], steps)


def step_of_pints(work: Work) -> Step:
    import pints

    x, g = one(work)
    optimizer = pints.Adam(x, sigma0=LEARNING_RATE)

    def step() -> None:
        optimizer.ask()
        optimizer.tell([(0.0, g)])

    return Step(step, optimizer.ask)


def step_of_pennylane(work: Work) -> Step:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pennylane

    x, g = one(work)
    args: Any = (pennylane.numpy.array(x),)
    optimizer = pennylane.AdamOptimizer(stepsize=LEARNING_RATE, beta2=0.999)

    def step() -> None:
        nonlocal args
        args = optimizer.apply_grad((g,), args)

    return Step(step, lambda: args)


def step_of_qiskit(work: Work, steps: int = 1000) -> Step:
    """Steps of qiskit-algorithms' loop, which begins anew in each call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from qiskit_algorithms.optimizers import ADAM

    x, g = one(work)
    optimizer = ADAM(maxiter=steps, lr=LEARNING_RATE, beta_2=0.999, noise_factor=1e-8, tol=0)

    def run() -> None:
        nonlocal x
        x = optimizer.minimize(lambda x: 0.0, x, jac=lambda x: g).x

    return Step(run, lambda: [x], steps)


def step_of_numpy(work: Work) -> Step:
    params, grads = arrays(work)
    return Step({"Adam": numpy_adam, "RMSprop": numpy_rmsprop}[work.rule](params, grads, LEARNING_RATE), lambda: params)


def step_of_stream(work: Work) -> Step:
    """Pass over memory with the reads and writes of Adam."""
    return Step(stream([int(np.prod(shape)) for shape in work.shapes], states=2), lambda: ())


@dataclass(frozen=True)
class Peer:
    """A competitor.

    Attributes
    ----------
    step : function of a `Work`
    package : str
        Packages that it needs, by import name.
    whole : bool
        False if its step computes something else than fastopt's.
    """

    step: Callable[[Work], Step]
    package: str = "numpy"
    whole: bool = True

    @property
    def here(self) -> bool:
        """True if this machine can run it."""
        if self.step is step_of_stream:
            return shutil.which(compiler()[0]) is not None
        return find_spec(self.package) is not None


PEERS: dict[str, Peer] = {
    "fastopt": Peer(step_of_fastopt),
    "one thread": Peer(functools.partial(step_of_fastopt, threads=1)),
    "two threads": Peer(functools.partial(step_of_fastopt, threads=2)),
    "unbound": Peer(functools.partial(step_of_fastopt, grads="list")),
    "functional": Peer(functools.partial(step_of_fastopt, grads="functional")),
    "first steps": Peer(lambda work: step_of_fastopt(replace(work, count=0))),
    "float32": Peer(step_of_plain_adam, whole=False),
    "torch": Peer(step_of_torch, "torch"),
    "torch foreach": Peer(functools.partial(step_of_torch, kind="foreach"), "torch"),
    "torch default": Peer(functools.partial(step_of_torch, kind=""), "torch"),
    "torch in float32": Peer(step_of_torch_in_float32, "torch"),
    "optax": Peer(step_of_optax, "optax"),
    "keras": Peer(step_of_keras, "keras"),
    "numba": Peer(step_of_numba, "numba"),
    "scikit-learn": Peer(step_of_scikit_learn, "sklearn"),
    "thinc": Peer(step_of_thinc, "thinc"),
    "DeepSpeed": Peer(step_of_deepspeed, "deepspeed"),
    "autograd": Peer(step_of_autograd, "autograd"),
    "pints": Peer(step_of_pints, "pints"),
    "pennylane": Peer(step_of_pennylane, "pennylane"),
    "qiskit-algorithms": Peer(step_of_qiskit, "qiskit_algorithms"),
    "numpy": Peer(step_of_numpy),
    "stream": Peer(step_of_stream, whole=False),
    "SGD of scikit-learn": Peer(functools.partial(whole, models.by_scikit_learn), "sklearn", False),
    "objective": Peer(functools.partial(minimization, prepare=minimizers.calls), whole=False),
    **{
        name: Peer(functools.partial(minimization, prepare=functools.partial(minimizers.by_scipy, method=name)), "scipy", False)
        for name in ("L-BFGS-B", "BFGS")
    },
}


def available() -> list[str]:
    """Return the names of the peers that this machine can run."""
    return [name for name, peer in PEERS.items() if peer.here]
