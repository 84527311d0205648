"""Under ``convention="keras"`` and ``"optax"`` an optimizer is that package's: 200 steps with changing learning rates."""

import os
import warnings

import numpy as np
import pytest
from cases import data

import fastopt as fo

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the packages, not ours
STEPS = 200


def rates(lr):
    """A learning rate of each step."""
    return [lr * (1 - k / (2 * STEPS)) for k in range(STEPS)]


def gradients(k):
    return [data(30, seed=k + 1).reshape(5, 6), data(7, seed=k + 1000)]


def ours(cls, lr, options, convention):
    params = [data(30, seed=5000).reshape(5, 6), data(7, seed=5001)]
    optimizer = cls(params, convention=convention, **options)
    for k, rate in enumerate(rates(lr)):
        optimizer.lr = rate
        optimizer.step(gradients(k))
    return params, optimizer


def compare(params, theirs, tolerance):
    for p, q in zip(params, theirs, strict=True):
        q = np.asarray(q)
        assert p.shape == q.shape and np.abs(p - q).max() <= tolerance * max(1, np.abs(q).max()), np.abs(p - q).max()


def test_docstrings_say_which_rules_torch_lacks():
    torch = pytest.importorskip("torch")
    classes = [getattr(fo, name) for name in fo.optimizers.__all__]
    lacking = {cls.__name__ for cls in classes if "PyTorch lacks this rule" in " ".join(cls.__doc__.split())}
    of_torch = tuple(cls for cls in classes if hasattr(torch.optim, cls.__name__))
    assert lacking == {cls.__name__ for cls in classes if not issubclass(cls, of_torch)}
    assert {"Lion", "Prodigy", "FTRL"} <= lacking


@pytest.fixture(scope="module")
def keras():
    os.environ["KERAS_BACKEND"] = "numpy"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras = pytest.importorskip("keras")
    if keras.backend.backend() != "numpy":
        pytest.skip("Keras was imported with another backend")
    keras.config.set_floatx("float64")
    return keras


KERAS = {  # our class and options, Keras' class and options; it rounds some numbers to float32, which 0.875 survives
    "SGD": (fo.SGD, {}, "SGD", {}),
    "momentum": (fo.SGD, {"momentum": 0.875}, "SGD", {"momentum": 0.875}),
    "nesterov": (fo.SGD, {"momentum": 0.875, "nesterov": True}, "SGD", {"momentum": 0.875, "nesterov": True}),
    "weight decay": (fo.SGD, {"momentum": 0.875, "weight_decay": 0.1}, "SGD", {"momentum": 0.875, "weight_decay": 0.1}),
    "Adam": (fo.Adam, {}, "Adam", {}),
    "Adam, large eps": (fo.Adam, {"eps": 1e-2, "weight_decay": 0.1}, "Adam", {"epsilon": 1e-2, "weight_decay": 0.1}),
    "AMSGrad": (fo.Adam, {"amsgrad": True}, "Adam", {"amsgrad": True}),
    "AdamW": (fo.AdamW, {}, "AdamW", {}),
    "Adamax": (fo.Adamax, {}, "Adamax", {}),
    "NAdam": (fo.NAdam, {}, "Nadam", {}),
    "RMSprop": (fo.RMSprop, {}, "RMSprop", {}),
    "RMSprop, momentum": (fo.RMSprop, {"momentum": 0.9}, "RMSprop", {"momentum": 0.9}),
    "RMSprop, centered": (fo.RMSprop, {"centered": True, "eps": 1e-3}, "RMSprop", {"centered": True, "epsilon": 1e-3}),
    "Adagrad": (fo.Adagrad, {}, "Adagrad", {}),
    "Adadelta": (fo.Adadelta, {}, "Adadelta", {}),
    "FTRL": (fo.FTRL, {"l1": 0.01, "l2": 0.02}, "Ftrl", {"l1_regularization_strength": 0.01, "l2_regularization_strength": 0.02}),
    "Lion": (fo.Lion, {}, "Lion", {}),
    "Adafactor": (fo.Adafactor, {}, "Adafactor", {}),
    "Adafactor, weight decay": (
        fo.Adafactor,
        {"lr": 0.5, "weight_decay": 0.1},
        "Adafactor",
        {"learning_rate": 0.5, "weight_decay": 0.1},
    ),
}


@pytest.mark.parametrize("case", KERAS)
def test_keras(case, keras):
    cls, options, name, theirs = KERAS[case]
    peer = getattr(keras.optimizers, name)(**theirs)
    lr = float(np.asarray(peer.learning_rate))
    (first,) = {np.float32(g["lr"]) for g in cls(np.zeros(1), convention="keras", **options).groups}
    assert first == np.float32(lr), "the default learning rate"
    params, _ = ours(cls, lr, options, "keras")
    variables = [keras.Variable(data(30, seed=5000).reshape(5, 6)), keras.Variable(data(7, seed=5001))]
    peer.build(variables)
    for k, rate in enumerate(rates(lr)):
        peer.learning_rate = rate  # which Keras keeps in float32
        peer.apply([keras.ops.convert_to_tensor(g) for g in gradients(k)], variables)
    compare(params, [v.numpy() for v in variables], 1e-6)


@pytest.fixture(scope="module")
def optax():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jax = pytest.importorskip("jax")
        optax = pytest.importorskip("optax")
        pytest.importorskip("optax.contrib")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield optax
    jax.config.update("jax_enable_x64", before)


OPTAX = {  # our class and options, optax' function and options, learning rate
    "SGD": (fo.SGD, {}, "sgd", {}, 0.1),
    "momentum": (fo.SGD, {"momentum": 0.9}, "sgd", {"momentum": 0.9}, 0.1),
    "nesterov": (fo.SGD, {"momentum": 0.9, "nesterov": True}, "sgd", {"momentum": 0.9, "nesterov": True}, 0.1),
    "SignSGD": (fo.SignSGD, {}, "sign_sgd", {}, 0.01),
    "Lion": (fo.Lion, {}, "lion", {}, 0.01),
    "Adam": (fo.Adam, {}, "adam", {}, 0.01),
    "Adam, eps_root": (fo.Adam, {"eps_root": 1e-3}, "adam", {"eps_root": 1e-3}, 0.01),
    "AMSGrad": (fo.Adam, {"amsgrad": True}, "amsgrad", {}, 0.01),
    "AMSGrad, eps_root": (fo.Adam, {"amsgrad": True, "eps_root": 1e-3}, "amsgrad", {"eps_root": 1e-3}, 0.01),
    "AdamW": (fo.AdamW, {}, "adamw", {}, 0.01),
    "LAMB": (fo.LAMB, {"weight_decay": 0.1}, "lamb", {"weight_decay": 0.1}, 0.01),
    "Adamax": (fo.Adamax, {}, "adamax", {}, 0.01),
    "NAdam": (fo.NAdam, {}, "nadam", {}, 0.01),
    "RAdam": (fo.RAdam, {}, "radam", {}, 0.01),
    "AdaBelief": (fo.AdaBelief, {}, "adabelief", {}, 0.01),
    "Yogi": (fo.Yogi, {}, "yogi", {}, 0.01),
    "AdEMAMix": (fo.AdEMAMix, {"weight_decay": 0.1}, "ademamix", {"weight_decay": 0.1}, 0.01),
    "RMSprop": (fo.RMSprop, {}, "rmsprop", {}, 0.01),
    "RMSprop, momentum": (fo.RMSprop, {"momentum": 0.9}, "rmsprop", {"momentum": 0.9}, 0.01),
    "RMSprop, centered": (fo.RMSprop, {"centered": True, "eps": 1e-3}, "rmsprop", {"centered": True, "eps": 1e-3}, 0.01),
    "Adagrad": (fo.Adagrad, {}, "adagrad", {}, 0.1),
    "Adadelta": (fo.Adadelta, {}, "adadelta", {}, 1.0),
    "ADOPT": (fo.ADOPT, {}, "adopt", {}, 0.01),
    "LARS": (fo.LARS, {}, "lars", {}, 0.1),
}
TOLERANCES = {"RMSprop, centered": 1e-9}  # a variance that cancels


def by_optax(optax, transformation):
    import jax

    params = [jax.numpy.asarray(data(30, seed=5000).reshape(5, 6)), jax.numpy.asarray(data(7, seed=5001))]
    state = transformation.init(params)
    update = jax.jit(transformation.update)
    for k in range(STEPS):
        updates, state = update([jax.numpy.asarray(g) for g in gradients(k)], state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("case", OPTAX)
def test_optax(case, optax):
    cls, options, name, theirs, lr = OPTAX[case]
    make = getattr(optax, name, None) or getattr(optax.contrib, name)
    params, _ = ours(cls, lr, options, "optax" if "optax" in cls.conventions else "torch")
    import jax

    table = jax.numpy.asarray(rates(lr))
    expected, _ = by_optax(optax, make(lambda count: table[count], **theirs))
    compare(params, expected, TOLERANCES.get(case, 1e-12))


def constant(cls, options, steps=STEPS, **convention):
    params = [data(30, seed=5000).reshape(5, 6), data(7, seed=5001)]
    optimizer = cls(params, **options, **convention)
    for k in range(steps):
        optimizer.step(gradients(k))
    return params, optimizer


def by_torch(cls, options, steps=STEPS):
    """The same steps by a torch optimizer of another package; gradients are copies, which some of them change."""
    torch = pytest.importorskip("torch")
    params = [torch.tensor(a, requires_grad=True) for a in (data(30, seed=5000).reshape(5, 6), data(7, seed=5001))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = cls(params, **options)
        if hasattr(peer, "train"):
            peer.train()
        for k in range(steps):
            for p, g in zip(params, gradients(k), strict=True):
                p.grad = torch.tensor(g)
            peer.step()
        points = [p.detach().numpy().copy() for p in params]
        if hasattr(peer, "eval"):
            peer.eval()
    return points, [p.detach().numpy() for p in params]


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({}, {}),
        ({"weight_decay": 0.1}, {"weight_decay": 0.1}),
        ({"weight_decay": 0.1, "decoupled_weight_decay": False}, {"weight_decay": 0.1, "decouple": False}),
        ({"use_bias_correction": True}, {"use_bias_correction": True}),
        ({"growth_rate": 1.02, "d_coef": 0.5, "weight_decay": 0.01}, {"growth_rate": 1.02, "d_coef": 0.5, "weight_decay": 0.01}),
    ],
)
def test_prodigy_is_its_authors(options, theirs, capsys):
    prodigyopt = pytest.importorskip("prodigyopt")
    params, _ = constant(fo.Prodigy, {"lr": 1.0, "d0": 1e-3, **options}, 50)
    compare(params, by_torch(prodigyopt.Prodigy, {"lr": 1.0, "d0": 1e-3, **theirs}, 50)[0], 1e-10)


@pytest.mark.full
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_prodigy_is_optaxs(optax, decay):
    import jax

    x = np.zeros(3)
    optimizer = fo.Prodigy(x, lr=1.0, d0=1e-3, weight_decay=decay, convention="optax")
    peer = optax.contrib.prodigy(1.0, estim_lr0=1e-3, weight_decay=decay, safeguard_warmup=False)
    theirs = jax.numpy.zeros(3)
    state = peer.init(theirs)
    for _ in range(STEPS):
        optimizer.step(gradient_of(x))
        updates, state = peer.update(jax.numpy.asarray(gradient_of(np.asarray(theirs))), state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    np.testing.assert_allclose(x, theirs, rtol=1e-9)
    assert optimizer.state["0"]["d"] > 0.1


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adopt_is_its_authors(decay, decoupled):
    adopt = pytest.importorskip("adopt")
    params, _ = constant(fo.ADOPT, {"lr": 0.01, "weight_decay": decay, "decoupled_weight_decay": decoupled})
    compare(params, by_torch(adopt.ADOPT, {"lr": 0.01, "weight_decay": decay, "decouple": decoupled})[0], 1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("no_prox", [False, True])
def test_adan_is_its_authors(decay, no_prox):
    adan = pytest.importorskip("pytorch_optimizer").Adan  # which checks itself against the authors' code, not on PyPI
    params, _ = constant(fo.Adan, {"lr": 0.01, "weight_decay": decay, "no_prox": no_prox})
    compare(params, by_torch(adan, {"lr": 0.01, "weight_decay": decay, "weight_decouple": no_prox})[0], 1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adan_is_optaxs(optax, decay):
    params, _ = constant(fo.Adan, {"lr": 0.01, "weight_decay": decay}, convention="optax")
    compare(params, by_optax(optax, optax.adan(0.01, weight_decay=decay))[0], 1e-10)


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"warmup": 20}, {"warmup": 20, "weight_decay": 0.1}])
@pytest.mark.parametrize("name", ["ScheduleFreeSGD", "ScheduleFreeAdamW"])
def test_schedule_free_is_its_authors(name, options):
    schedulefree = pytest.importorskip("schedulefree")
    params, optimizer = constant(getattr(fo, name), {"lr": 0.01, **options})
    theirs = {{"warmup": "warmup_steps"}.get(key, key): x for key, x in options.items()}
    peer = {"ScheduleFreeSGD": "SGDScheduleFree", "ScheduleFreeAdamW": "AdamWScheduleFree"}[name]
    points, averages = by_torch(getattr(schedulefree, peer), {"lr": 0.01, "foreach": False, **theirs})
    compare(params, points, 1e-12)
    compare(optimizer.average, averages, 1e-11)


@pytest.mark.parametrize("warmup", [0, 20])
def test_schedule_free_with_warmup_is_optaxs(optax, warmup):
    import jax

    def grows(count):  # optax's own schedules are in single precision
        return 0.01 * jax.numpy.minimum(1.0, jax.numpy.asarray(count, float) / warmup)

    rate = grows if warmup else 0.01
    params, optimizer = constant(fo.ScheduleFreeSGD, {"lr": 0.01, "warmup": warmup}, convention="optax")
    expected, state = by_optax(optax, optax.contrib.schedule_free(optax.sgd(rate), learning_rate=rate, b1=0.9))
    compare(params, expected, 1e-10)
    compare(optimizer.average, optax.contrib.schedule_free_eval_params(state, expected), 1e-9)


def test_lars_as_its_paper_says():
    params, _ = constant(fo.LARS, {"lr": 0.1, "weight_decay": 0.1, "momentum": 0.9, "trust_coefficient": 0.01})
    for j, p in enumerate([data(30, seed=5000).reshape(5, 6), data(7, seed=5001)]):
        buf = np.zeros_like(p)
        for k in range(STEPS):
            g = gradients(k)[j]
            ratio = 0.01 * np.linalg.norm(p) / (np.linalg.norm(g) + 0.1 * np.linalg.norm(p))
            buf = 0.9 * buf + 0.1 * ratio * (g + 0.1 * p)
            p = p - buf
        compare([params[j]], [p], 1e-12)


def test_adan_as_its_paper_says():
    params, _ = constant(fo.Adan, {"lr": 0.01, "eps": 1e-3})
    for j, p in enumerate([data(30, seed=5000).reshape(5, 6), data(7, seed=5001)]):
        m, v, n, before = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p), gradients(0)[j]
        for k in range(STEPS):
            t, g = k + 1, gradients(k)[j]
            m, v = 0.98 * m + 0.02 * g, 0.92 * v + 0.08 * (g - before)
            n = 0.99 * n + 0.01 * (g + 0.92 * (g - before)) ** 2
            step = m / (1 - 0.98**t) + 0.92 * v / (1 - 0.92**t)
            p, before = p - 0.01 * step / (np.sqrt(n / (1 - 0.99**t)) + 1e-3), g
        compare([params[j]], [p], 1e-12)


def test_schedule_free_is_optaxs(optax):
    base = optax.chain(
        optax.scale_by_rms(decay=0.999, eps=1e-8, eps_in_sqrt=False, bias_correction=True), optax.scale_by_learning_rate(0.01)
    )
    params, optimizer = constant(fo.ScheduleFreeAdamW, {"lr": 0.01})
    expected, state = by_optax(optax, optax.contrib.schedule_free(base, learning_rate=0.01, b1=0.9))
    compare(params, expected, 1e-10)
    compare(optimizer.average, optax.contrib.schedule_free_eval_params(state, expected), 1e-9)
    params, optimizer = constant(fo.ScheduleFreeSGD, {"lr": 0.01})
    expected, state = by_optax(optax, optax.contrib.schedule_free(optax.sgd(0.01), learning_rate=0.01, b1=0.9))
    compare(params, expected, 1e-10)
    compare(optimizer.average, optax.contrib.schedule_free_eval_params(state, expected), 1e-9)


def test_dog_as_its_paper_says():
    x = [data(30, seed=5000).reshape(5, 6), data(7, seed=5001)]
    params, _ = constant(fo.DoG, {"lr": 1.0, "reps_rel": 1e-3})
    start, farthest, seen = [a.copy() for a in x], 1e-3 * (1 + np.sqrt(sum((a**2).sum() for a in x))), 1e-8
    for k in range(STEPS):
        g = gradients(k)
        farthest = max(farthest, np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(x, start, strict=True))))
        seen += sum((a**2).sum() for a in g)
        x = [a - farthest / np.sqrt(seen) * b for a, b in zip(x, g, strict=True)]
    compare(params, x, 1e-11)


def test_ftrl_as_its_paper_says():
    params, _ = constant(fo.FTRL, {"lr": 0.1, "beta": 0.5, "l1": 0.3, "l2": 0.2})
    zeros = 0
    for j, p in enumerate([data(30, seed=5000).reshape(5, 6), data(7, seed=5001)]):
        w, z, n = p, np.zeros_like(p), np.zeros_like(p)
        for k in range(STEPS):
            g = gradients(k)[j]
            sigma = (np.sqrt(n + g * g) - np.sqrt(n)) / 0.1
            z, n = z + g - sigma * w, n + g * g
            w = np.where(np.abs(z) <= 0.3, 0, -(z - np.sign(z) * 0.3) / ((0.5 + np.sqrt(n)) / 0.1 + 0.2))
        compare([params[j]], [w], 1e-11)
        assert ((params[j] == 0) == (w == 0)).all()
        zeros += np.count_nonzero(w == 0)
    assert zeros, "the penalty makes zeros"


def test_signum_as_its_paper_says():
    params, _ = constant(fo.SignSGD, {"lr": 0.01, "momentum": 0.9})
    for j, p in enumerate([data(30, seed=5000).reshape(5, 6), data(7, seed=5001)]):
        m = np.zeros_like(p)
        for k in range(STEPS):
            m = 0.9 * m + 0.1 * gradients(k)[j]
            p = p - 0.01 * np.sign(m)
        compare([params[j]], [p], 1e-12)


def test_ademamix_warms_up_as_its_paper_says():
    params, _ = constant(fo.AdEMAMix, {"lr": 0.01, "betas": (0.9, 0.99, 0.9999), "alpha": 4.0, "warmup": 100})
    for j, p in enumerate([data(30, seed=5000).reshape(5, 6), data(7, seed=5001)]):
        m, v, slow = (np.zeros_like(p) for _ in range(3))
        for k in range(STEPS):
            t, g = k + 1, gradients(k)[j]
            part = min(t / 100, 1)
            a, b = np.log(0.9), np.log(0.9999)
            beta3 = min(np.exp(a * b / ((1 - part) * b + part * a)), 0.9999)
            m, v, slow = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g, beta3 * slow + (1 - beta3) * g
            p = p - 0.01 * (m / (1 - 0.9**t) + 4 * part * slow) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
        compare([params[j]], [p], 1e-11)


QUADRATIC = np.array([1.0, 10.0, 0.1])


def gradient_of(x):
    return QUADRATIC * (x - np.array([1.0, -2.0, 3.0]))


def descend(steps, **options):
    x = np.zeros(3)
    optimizer = fo.Adam(x, **options)
    for _ in range(steps):
        optimizer.step(gradient_of(x))
    return x


def test_autograds_adam():
    optimizers = pytest.importorskip("autograd.misc.optimizers")
    expected = optimizers.adam(lambda x, i: gradient_of(x), np.zeros(3), num_iters=STEPS, step_size=0.1)
    np.testing.assert_allclose(descend(STEPS, lr=0.1), expected, rtol=1e-12)


def test_pennylanes_adam():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pennylane = pytest.importorskip("pennylane")
    peer, x = pennylane.AdamOptimizer(stepsize=0.1, eps=1e-3), pennylane.numpy.zeros(3)
    for _ in range(STEPS):
        (x,) = peer.apply_grad((gradient_of(x),), (x,))
    np.testing.assert_allclose(descend(STEPS, lr=0.1, betas=(0.9, 0.99), eps=1e-3, eps_hat=True), x, rtol=1e-12)


def test_pints_adam():
    pints = pytest.importorskip("pints")
    peer = pints.Adam(np.zeros(3), sigma0=0.1)
    for _ in range(STEPS):
        (x,) = peer.ask()
        peer.tell([(0.0, gradient_of(x))])
    np.testing.assert_allclose(descend(STEPS, lr=0.1), peer.ask()[0], rtol=1e-12)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_qiskits_adam(amsgrad):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizers = pytest.importorskip("qiskit_algorithms.optimizers")
    peer = optimizers.ADAM(maxiter=STEPS, lr=0.1, noise_factor=1e-3, tol=0, amsgrad=amsgrad, beta_2=0.99)
    expected = peer.minimize(lambda x: 0.0, np.zeros(3), jac=gradient_of).x
    found = descend(STEPS, lr=0.1, betas=(0.9, 0.99), eps=1e-3, eps_hat=True, amsgrad=amsgrad)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_pybops_adamw():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("pybop.optimisers._adamw")
    peer = module.AdamWImpl(np.zeros(3), 0.1, None)
    for _ in range(STEPS):
        (x,) = peer.ask()
        peer.tell([(0.0, gradient_of(x))])
    x = np.zeros(3)
    optimizer = fo.AdamW(x, lr=0.1, betas=(peer._b1, peer._b2), weight_decay=peer._lam, eps=peer._eps)
    for _ in range(STEPS):
        optimizer.step(gradient_of(x))
    np.testing.assert_allclose(x, peer.ask()[0], rtol=1e-12)
