"""Torch's optimizer over the engine: what torch's own optimizers do, and the same numbers."""

import copy
import functools
import io
import os
import pickle
import subprocess
import sys
import weakref

import numpy as np
import pytest

import fastopt as fo

torch = pytest.importorskip("torch")
T = torch.optim

PAIRS = {  # the same optimizer here and there
    "sgd": (fo.SGD, T.SGD, {"lr": 0.1, "weight_decay": 0.01}),
    "momentum": (fo.SGD, T.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.1}),
    "nesterov": (fo.SGD, T.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adam": (fo.Adam, T.Adam, {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.1}),
    "amsgrad": (fo.Adam, T.Adam, {"lr": 0.01, "amsgrad": True, "maximize": True}),
    "adamw": (fo.AdamW, T.AdamW, {"lr": 0.01}),
    "adamax": (fo.Adamax, T.Adamax, {"lr": 0.01}),
    "nadam": (fo.NAdam, T.NAdam, {"lr": 0.01, "weight_decay": 0.01, "decoupled_weight_decay": True}),
    "radam": (fo.RAdam, T.RAdam, {"lr": 0.01}),
    "adadelta": (fo.Adadelta, T.Adadelta, {"lr": 1.0}),
    "adagrad": (fo.Adagrad, T.Adagrad, {"lr": 0.1, "lr_decay": 0.01}),
    "rmsprop": (fo.RMSprop, T.RMSprop, {"lr": 0.01, "centered": True, "momentum": 0.5}),
    "rprop": (fo.Rprop, T.Rprop, {"lr": 0.01}),
    "asgd": (fo.ASGD, T.ASGD, {"lr": 0.05, "t0": 2}),
    "adafactor": (fo.Adafactor, T.Adafactor, {"lr": 0.05}),
    "muon": (fo.Muon, T.Muon, {"lr": 0.02, "weight_decay": 0.1}),
}
SHAPES = [(4, 3), (5, 7)]


def tensors(dtype=torch.float64, shapes=SHAPES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64).to(dtype)) for s in shapes]


def give_gradients(params, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)


def steps(opt, params, first, count=3):
    for k in range(first, first + count):
        give_gradients(params, 100 + k)
        opt.step()


def close(a, b, rtol=None):
    rtol = rtol or (1e-6 if a[0].dtype == torch.float64 else 1e-4)
    torch.testing.assert_close(list(a), list(b), rtol=rtol, atol=1e-8)


@pytest.mark.parametrize("name", PAIRS)
def test_steps_and_checkpoints_go_both_ways(name):
    """Some steps here, the rest there: as if all were there; and the other way round."""
    ours, theirs, options = PAIRS[name]
    options_there = options | ({"momentum_decay": 4e-3} if name == "nadam" else {})
    whole = tensors()
    reference = theirs(whole, **options_there)
    steps(reference, whole, 0, 6)
    here = tensors()
    opt = fo.torch.optimizer(ours, here, **options)
    assert isinstance(opt, T.Optimizer) and len(opt.state) == 0
    steps(opt, here, 0)
    there = [torch.nn.Parameter(p.detach().clone()) for p in here]
    continued = theirs(there, **options_there)
    continued.load_state_dict(opt.state_dict())
    steps(continued, there, 3)
    rough = 0.02 if name == "muon" else None  # torch's products of matrices are in bfloat16
    close(there, whole, rough)
    start = tensors()
    first = theirs(start, **options_there)
    steps(first, start, 0)
    back = [torch.nn.Parameter(p.detach().clone()) for p in start]
    opt = fo.torch.optimizer(ours, back, **options)
    opt.load_state_dict(first.state_dict())
    steps(opt, back, 3)
    close(back, whole, rough)
    kept, known = opt.state[back[0]], reference.state[whole[0]]
    assert {*known} <= {*kept} and all(kept[k].shape == x.shape for k, x in known.items() if isinstance(x, torch.Tensor) and x.ndim)


@pytest.mark.parametrize("name", PAIRS)
def test_resume_is_exact(name):
    ours, _, options = PAIRS[name]
    for dtype in (torch.float32, torch.float64):
        whole, half = tensors(dtype), tensors(dtype)
        opt = fo.torch.optimizer(ours, whole, **options)
        steps(opt, whole, 0, 6)
        first = fo.torch.optimizer(ours, half, **options)
        steps(first, half, 0)
        buffer = io.BytesIO()
        torch.save(first.state_dict(), buffer)
        buffer.seek(0)
        second = fo.torch.optimizer(ours, half, **options)
        second.load_state_dict(torch.load(buffer, weights_only=True))
        steps(second, half, 3)
        assert all(torch.equal(a, b) for a, b in zip(whole, half, strict=True))


@pytest.mark.parametrize(
    "options", [{"state_dtype": "float8"}, {"state_dtype": "bfloat16", "ema": 0.9}, {"master": "split"}, {"master": "float32"}]
)
def test_resume_of_stored_formats_is_exact(options):
    dtype = torch.bfloat16 if "master" in options else torch.float32
    whole, half = tensors(dtype), tensors(dtype)
    opt = fo.torch.optimizer(fo.Prodigy, whole, **options)
    steps(opt, whole, 0, 6)
    first = fo.torch.optimizer(fo.Prodigy, half, **options)
    steps(first, half, 0)
    second = fo.torch.optimizer(fo.Prodigy, half, **options)
    second.load_state_dict(first.state_dict())
    steps(second, half, 3)
    assert all(torch.equal(a, b) for a, b in zip(whole, half, strict=True))
    assert opt.fast.steps == 6 and opt.fast.fingerprint() != first.fast.fingerprint()


def test_a_real_model_learns_with_a_scheduler_and_closures():
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    y = x[:, :1] * 2 - x[:, 1:2] + 0.5
    made = []
    for adapter in (True, False):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
        opt = fo.torch.optimizer(fo.AdamW, model.parameters(), lr=0.02) if adapter else T.AdamW(model.parameters(), lr=0.02)
        schedule = T.lr_scheduler.OneCycleLR(opt, max_lr=0.05, total_steps=60)

        def closure(model=model, opt=opt):
            opt.zero_grad()
            loss = torch.nn.functional.mse_loss(model(x), y)
            loss.backward()
            return loss

        losses = []
        for _ in range(60):
            losses.append(opt.step(closure).item())
            schedule.step()
        assert losses[-1] < 0.1 < losses[0]
        made.append(losses)
    np.testing.assert_allclose(*made, rtol=2e-3)


SCHEDULERS = [
    lambda opt: T.lr_scheduler.StepLR(opt, 2, 0.5),
    lambda opt: T.lr_scheduler.CosineAnnealingLR(opt, 5),
    lambda opt: T.lr_scheduler.ExponentialLR(opt, 0.9),
    lambda opt: T.lr_scheduler.LambdaLR(opt, lambda k: 1 / (1 + k)),
    lambda opt: T.lr_scheduler.CyclicLR(opt, 0.01, 0.1, step_size_up=2, cycle_momentum=True),
    lambda opt: T.lr_scheduler.ReduceLROnPlateau(opt, patience=0),
    lambda opt: T.lr_scheduler.SequentialLR(opt, [T.lr_scheduler.ConstantLR(opt, 0.1), T.lr_scheduler.LinearLR(opt)], [2]),
    lambda opt: T.swa_utils.SWALR(opt, swa_lr=0.05, anneal_epochs=3),
]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_torchs_schedulers(scheduler):
    a, b = tensors(), tensors()
    pair = [(fo.torch.optimizer(fo.SGD, a, lr=0.1, momentum=0.9), a), (T.SGD(b, lr=0.1, momentum=0.9), b)]
    schedules = [scheduler(opt) for opt, _ in pair]
    for k in range(6):
        for (opt, params), schedule in zip(pair, schedules, strict=True):
            give_gradients(params, k)
            opt.step()
            schedule.step(*([1.0] if isinstance(schedule, T.lr_scheduler.ReduceLROnPlateau) else []))
    close(a, b)
    assert pair[0][0].param_groups[0]["lr"] == pair[1][0].param_groups[0]["lr"]


def test_groups():
    a, b = tensors(), tensors()

    def groups(p):
        return [{"params": [p[0]], "lr": 0.1}, {"params": [p[1]], "betas": (0.5, 0.9), "weight_decay": 0.1}]

    ours, theirs = fo.torch.optimizer(fo.Adam, groups(a), lr=0.01), T.Adam(groups(b), lr=0.01)
    assert [g["lr"] for g in ours.param_groups] == [0.1, 0.01]
    steps(ours, a, 0)
    steps(theirs, b, 0)
    more = tensors(shapes=[(6,)], seed=5), tensors(shapes=[(6,)], seed=5)
    for opt, params, extra in ((ours, a, more[0]), (theirs, b, more[1])):
        opt.add_param_group({"params": extra, "lr": 0.5})
        opt.param_groups[0]["lr"] = torch.tensor(0.2)
        params += extra
    steps(ours, a, 3)
    steps(theirs, b, 3)
    close(a, b)
    ours.param_groups[0]["lr"].fill_(0.0)
    ours.param_groups[0]["weight_decay"] = 0.0
    before = a[0].detach().clone()
    steps(ours, a, 9, 1)
    assert torch.equal(a[0], before)
    named = fo.torch.optimizer(fo.SGD, torch.nn.Linear(2, 1).named_parameters(), lr=0.1)
    assert list(named.fast.state) == ["0/weight", "0/bias"]
    with pytest.raises(ValueError, match="some parameters appear in more than one"):
        ours.add_param_group({"params": a[0]})


@pytest.fixture(params=[True, False], ids=["exchange", "no exchange"])
def exchange(request, monkeypatch):
    """Where tensors lie is told by torch's half of DLPack in C, or, before torch 2.10, by their methods."""
    if not request.param:
        monkeypatch.setattr(fo.torch, "EXCHANGE", None)
    else:
        assert fo.torch.EXCHANGE is not None


def test_gradients_that_come_and_go(exchange):
    """None leaves a parameter and its step count alone; new memory is seen, and changes in place."""
    a, b = tensors(), tensors()
    ours, theirs = fo.torch.optimizer(fo.Adam, a, lr=0.1), T.Adam(b, lr=0.1)
    ours.step()
    assert len(ours.state) == 0
    for opt, params in ((ours, a), (theirs, b)):
        for k in range(6):
            opt.zero_grad(set_to_none=k % 2 == 0)
            give_gradients(params, k)
            if k == 3:
                params[0].grad = None
            opt.step()
            params[1].grad.mul_(-1)
            opt.step()
            params[1].grad.data = params[1].grad.data * 3
            opt.step()
    close(a, b)
    assert [float(ours.state[p]["step"]) for p in a] == [float(theirs.state[p]["step"]) for p in b] == [15, 18]


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_not_held(dtype, exchange):
    """Whoever lets go of a gradient has its memory back."""
    params = tensors(dtype)
    opt = fo.torch.optimizer(fo.Adam, params)
    give_gradients(params, 0)
    opt.step()
    held = [weakref.ref(p.grad) for p in params]
    opt.zero_grad()
    assert [r() for r in held] == [None, None]
    opt.step()
    give_gradients(params, 1)
    params[0].grad = params[0].grad.t().contiguous().t()
    opt.step()
    held = [weakref.ref(p.grad) for p in params]
    opt.zero_grad()
    assert [r() for r in held] == [None, None]


def test_parameters_that_move(exchange):
    a, b = tensors(), tensors()
    ours, theirs = fo.torch.optimizer(fo.Adam, a, lr=0.1), T.Adam(b, lr=0.1)
    for opt, params in ((ours, a), (theirs, b)):
        steps(opt, params, 0)
        params[0].data = params[0].data.clone() + 1
        steps(opt, params, 3)
    close(a, b)


LAYOUTS = {
    "contiguous": lambda p: p,
    "transposed": lambda p: p.t().contiguous().t(),
    "strided": lambda p: torch.stack([p, -p], 2).flatten(1)[:, ::2],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("of_gradient", LAYOUTS)
@pytest.mark.parametrize("of_parameter", LAYOUTS)
def test_layouts_and_dtypes(of_parameter, of_gradient, dtype, exchange):
    (start,) = tensors(torch.float64, [(6, 4)])
    ours = torch.nn.Parameter(LAYOUTS[of_parameter](start.detach().to(dtype)))
    theirs = torch.nn.Parameter(start.detach().to(dtype).clone())
    a, b = fo.torch.optimizer(fo.Adam, [ours], lr=0.1, rounding="nearest"), T.Adam([theirs], lr=0.1)
    for k in range(3):
        g = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(k), dtype=torch.float64).to(dtype)
        theirs.grad, ours.grad = g.clone(), LAYOUTS[of_gradient](g.clone())
        a.step()
        b.step()
    tolerance = {torch.bfloat16: 0.03, torch.float16: 4e-3}.get(dtype, 1e-5)
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=tolerance, atol=tolerance)


def test_single_parameter_steps_from_backward_hooks():
    """As soon as a gradient is there, its parameter is updated and the gradient let go."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    other = copy.deepcopy(model)
    each = {p: fo.torch.optimizer(fo.Adam, [p], lr=0.05) for p in model.parameters()}

    def hook(p):
        each[p].step()
        each[p].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(hook)
    opt = T.Adam(other.parameters(), lr=0.05)
    x = torch.randn(16, 4)
    for _ in range(4):
        model(x).square().mean().backward()
        opt.zero_grad()
        other(x).square().mean().backward()
        opt.step()
    assert all(p.grad is None for p in model.parameters())
    close([p.detach() for p in model.parameters()], [p.detach() for p in other.parameters()])


def test_hooks():
    params = tensors(shapes=[(3,)])
    opt = fo.torch.optimizer(fo.SGD, params, lr=0.1)
    seen = []
    opt.register_step_pre_hook(lambda o, args, kwargs: seen.append("before"))
    opt.register_step_post_hook(lambda o, args, kwargs: seen.append("after"))
    opt.register_state_dict_post_hook(lambda o, sd: sd.update(extra=1))
    opt.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    give_gradients(params, 0)
    opt.step()
    saved = opt.state_dict()
    assert saved["extra"] == 1
    opt.load_state_dict(saved)
    assert seen == ["before", "after", "loaded"]


def test_copies():
    params = tensors()
    opt = fo.torch.optimizer(fo.NAdam, params, lr=0.1, clip_norm=1.0)
    steps(opt, params, 0)
    both = copy.deepcopy((params, opt)), pickle.loads(pickle.dumps((params, opt)))
    steps(opt, params, 3)
    for copied, again in both:
        assert again.tensors[0] is copied[0] is again.param_groups[0]["params"][0]
        steps(again, copied, 3)
        assert all(torch.equal(a, b) for a, b in zip(params, copied, strict=True))
        assert again.fast.fingerprint() == opt.fast.fingerprint()
    assert "clip_norm: 1.0" in repr(opt) and "lr: 0.1" in repr(opt)


def test_state_is_live_and_can_be_set():
    (p,) = params = tensors(shapes=[(4,)])
    opt = fo.torch.optimizer(fo.SGD, params, lr=1.0, momentum=0.5)
    assert p not in opt.state and list(opt.state) == [] and opt.state[p] == {} and list(opt.state) == [p]
    give_gradients(params, 0)
    opt.step()
    opt.state[p]["momentum_buffer"].zero_()
    p.grad.zero_()
    before = p.detach().clone()
    opt.step()
    assert torch.equal(p, before) and p in opt.state
    opt.state[p] = {"momentum_buffer": torch.ones(4, dtype=torch.float64)}
    opt.step()
    assert torch.equal(p, before - 0.5)
    del opt.state[p]
    assert len(opt.state) == 0
    opt.state = {p: {"step": torch.tensor(7.0), "momentum_buffer": torch.ones(4)}}
    assert float(opt.state[p]["step"]) == 7


def test_sparse_gradients_update_their_rows_alone():
    table = torch.nn.Embedding(10, 3, sparse=True)
    opt = fo.torch.optimizer(fo.Adam, table.parameters(), lr=0.1)
    before = table.weight.detach().clone()
    for _ in range(2):
        opt.zero_grad()
        table(torch.tensor([2, 5, 2])).sum().backward()
        opt.step()
    moved = (table.weight != before).any(1)
    assert moved.nonzero().flatten().tolist() == [2, 5]
    table.weight.grad = torch.ones(10, 3)
    opt.step()
    assert (table.weight != before).all()


def test_what_does_not_fit_is_refused_and_nothing_lost():
    params = tensors()
    with pytest.raises(TypeError, match=r"cls: <class 'torch.optim.adam.Adam'>, expected a class of fastopt's"):
        fo.torch.optimizer(T.Adam, params)
    with pytest.raises(TypeError, match="Adam: unknown fused"):
        fo.torch.optimizer(fo.Adam, params, fused=True)
    with pytest.raises(ValueError, match="lr: -1"):
        fo.torch.optimizer(fo.Adam, params, lr=-1)
    with pytest.raises(TypeError, match="parameter '0/0': a tensor on meta, expected a dense one on the CPU"):
        fo.torch.optimizer(fo.Adam, [torch.ones(3, device="meta", requires_grad=True)])
    with pytest.raises(ValueError, match="optimizer got an empty parameter list"):
        fo.torch.optimizer(fo.Adam, [])
    opt = fo.torch.optimizer(fo.Adam, params, lr=0.1)
    steps(opt, params, 0)
    before = opt.fast.fingerprint()
    saved = opt.state_dict()
    for change, error in [
        (
            lambda s: s["state"][0].update(exp_avg=torch.ones(7)),
            "state 'exp_avg' of '0/0': shape .7,., expected a tensor of shape .4, 3.",
        ),
        (lambda s: s["state"][1].pop("exp_avg_sq"), "state 'exp_avg_sq' of '0/1': nothing, expected a tensor"),
        (lambda s: s["param_groups"].pop(), "different number of parameter groups"),
    ]:
        wrong = copy.deepcopy(saved)
        change(wrong)
        with pytest.raises(ValueError, match=error):
            opt.load_state_dict(wrong)
        assert opt.fast.fingerprint() == before
    opt.param_groups[0]["lr"] = -3.0
    give_gradients(params, 0)
    with pytest.raises(ValueError, match="lr: -3"):
        opt.step()
    opt.param_groups[0]["lr"] = 0.1
    assert opt.fast.fingerprint() == before
    opt.load_state_dict(saved)
    steps(opt, params, 3)


def test_shapes_that_change_at_the_same_place():
    """Memory is not looked at by its first address alone."""
    base = torch.arange(8.0)
    p = torch.nn.Parameter(base)
    opt = fo.torch.optimizer(fo.SGD, [p], lr=1.0)
    p.grad = torch.zeros(8)
    opt.step()
    p.grad = None
    p.data = p.data[:4]
    p.grad = torch.ones(4)
    opt.step()
    assert base.tolist() == [-1, 0, 1, 2, 4, 5, 6, 7]
    square = torch.nn.Parameter(torch.arange(9.0).reshape(3, 3))
    opt = fo.torch.optimizer(fo.SGD, [square], lr=1.0)
    square.grad = torch.zeros(3, 3)
    opt.step()
    square.data = square.data.t()
    square.grad = g = torch.tensor([[0.0, 1, 2], [0, 0, 0], [0, 0, 0]])
    expected = square.detach() - g
    opt.step()
    assert torch.equal(square, expected)


def written(opt, p, how):
    """One of the ways in which people write to an optimizer's state; what they write is the same for all optimizers."""
    state = opt.state
    moved = {k: x.clone() if isinstance(x, torch.Tensor) else x for k, x in state[p].items()}
    new = torch.full_like(state[p]["exp_avg"], 0.25)
    if how == "name":
        state[p]["exp_avg"] = new
    elif how == "in place":
        state[p]["exp_avg"].copy_(new)
        state[p]["step"].fill_(7)
    elif how == "entry":
        state[p] = {**moved, "exp_avg": new}
    elif how == "lightning":
        for q, entry in state.items():
            state[q] = {k: x.to("cpu") if isinstance(x, torch.Tensor) else x for k, x in entry.items()}
    elif how == "all":
        opt.state = {q: dict(entry) for q, entry in state.items()}
    elif how == "itself":
        state[p] = state[p]
        opt.state = opt.state
    elif how == "update":
        state[p].update(exp_avg=new, step=torch.tensor(5.0))
    elif how == "merge":
        state[p] |= {"exp_avg_sq": new}
    elif how == "pop":
        state[p]["exp_avg"] = state[p].pop("exp_avg") * 0.5
        state[p]["step"] = state[p].pop("step") + 2
    elif how == "setdefault":
        state[p].setdefault("exp_avg", new)
    elif how == "items":
        dict(state.items())[p]["exp_avg"] = new
    elif how == "begin anew":
        del state[p]
    elif how == "begin anew by an empty entry":
        state[p] = {}
    elif how == "begin all anew":
        state.clear()


@pytest.mark.parametrize(
    "how",
    [
        *("name", "in place", "entry", "lightning", "all", "itself", "update", "merge", "pop", "setdefault", "items"),
        *("begin anew", "begin anew by an empty entry", "begin all anew"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"amsgrad": True}])
def test_every_way_of_writing_to_state_is_torchs(how, options):
    a, b = tensors(), tensors()
    ours, theirs = fo.torch.optimizer(fo.Adam, a, lr=0.1, **options), T.Adam(b, lr=0.1, **options)
    for k in range(3):
        steps(ours, a, k)
        steps(theirs, b, k)
    for opt, params in ((ours, a), (theirs, b)):
        written(opt, params[1], how)
    for k in range(3, 6):
        steps(ours, a, k)
        steps(theirs, b, k)
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)
        assert {k: float(z) if z.ndim == 0 else z.shape for k, z in ours.state[x].items()} == {
            k: float(z) if z.ndim == 0 else z.shape for k, z in theirs.state[y].items()
        }


def test_state_holds_what_its_users_put_there():
    a = tensors()
    opt = fo.torch.optimizer(fo.Adam, a, lr=0.1)
    opt.state["x"] = 1  # as torch's own tests do
    opt.state[a[0]]["note"] = "mine"
    steps(opt, a, 0)
    held, step = opt.state[a[0]], opt.state[a[0]]["step"]
    steps(opt, a, 1)
    assert held is opt.state[a[0]] and float(step) == opt.fast.steps > 2 and held["note"] == "mine" and opt.state["x"] == 1
    saved = copy.deepcopy(opt.state_dict())
    assert saved["state"]["x"] == 1 and saved["state"][0]["note"] == "mine" and type(saved["state"][0]) is dict
    again = fo.torch.optimizer(fo.Adam, tensors(), lr=0.1)
    again.load_state_dict(saved)
    assert again.state["x"] == 1 and again.state[again.tensors[0]]["note"] == "mine"
    opt.state = {}
    assert len(opt.state) == 0 and [t for t, _, _ in opt.fast._counters()[0]] == [0] * len(a)


def test_writing_one_entry_touches_that_alone():
    a = tensors()
    opt = fo.torch.optimizer(fo.Adam, a, lr=0.1)
    steps(opt, a, 0)
    before = [[x.clone() for x in opt.state[p].values()] for p in a]
    with pytest.raises(ValueError, match=r"state 'exp_avg' of '0/0': shape \(9,\), expected a tensor"):
        opt.state[a[0]].update(exp_avg_sq=torch.ones_like(a[0]), exp_avg=torch.ones(9))
    opt.state[a[1]]["exp_avg"] = torch.zeros_like(a[1])
    after = [list(opt.state[p].values()) for p in a]
    for k, (old, new) in enumerate(zip(before, after, strict=True)):
        assert [torch.equal(x, y) for x, y in zip(old, new, strict=True)] == [True, k != 1, True]


def test_numbers_of_a_rule_can_be_set():
    a, b = tensors(), tensors()
    ours, theirs = fo.torch.optimizer(fo.NAdam, a, lr=0.1), T.NAdam(b, lr=0.1)
    for k in range(4):
        steps(ours, a, k)
        steps(theirs, b, k)
        for opt, params in ((ours, a), (theirs, b)):
            if k == 1:
                opt.state[params[0]]["mu_product"] = torch.tensor(0.5)
            if k == 2:
                opt.state[params[0]]["mu_product"].mul_(0.5)
    torch.testing.assert_close(a[0], b[0], rtol=1e-7, atol=1e-9)


def test_a_shape_that_state_does_not_fit_is_refused():
    p = torch.nn.Parameter(torch.ones(8))
    opt = fo.torch.optimizer(fo.Adam, [p])
    p.grad = torch.ones(8)
    opt.step()
    p.grad, p.data = None, p.data[:4]
    p.grad = torch.ones(4)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"parameter '0/0': shape \(4,\), expected \(8,\), as when the optimizer was made"):
            opt.step()


def test_rows_that_are_behind_catch_up_before_they_are_saved():
    tables = [torch.nn.Embedding(300, 2, sparse=sparse) for sparse in (True, False)]
    tables[1].weight.data.copy_(tables[0].weight.data)
    opts = [fo.torch.optimizer(fo.Adam, t.parameters(), lr=0.1, mode="exact") for t in tables]
    for k in range(3):
        for opt, table in zip(opts, tables, strict=True):
            opt.zero_grad()
            table(torch.tensor([0, 10 * k, 299 - k])).sum().backward()
            opt.step()
    saved = [opt.state_dict()["state"][0]["exp_avg_sq"] for opt in opts]
    assert torch.equal(*saved) and torch.equal(tables[0].weight, tables[1].weight)


def test_the_engines_optimizer_has_no_gradients_of_its_own():
    params = tensors()
    opt = fo.torch.optimizer(fo.Adam, params)
    give_gradients(params, 0)
    opt.step()
    opt.zero_grad()
    with pytest.raises(ValueError, match=r"step.. without gradients"):
        opt.fast.step()


@pytest.mark.parametrize("change", ["group", "move", "copy", "load"])
def test_what_is_gathered_stays(change):
    """Between two gradients that make one step, anything may happen."""
    a, b = tensors(), tensors()
    whole = fo.torch.optimizer(fo.Adam, b, lr=0.1, accumulate=2, nonfinite="skip")
    opt = fo.torch.optimizer(fo.Adam, a, lr=0.1, accumulate=2, nonfinite="skip")
    for o, params in ((opt, a), (whole, b)):
        steps(o, params, 0, 3)
        params[0].grad.fill_(torch.nan)
        o.step()
        give_gradients(params, 50)
        o.step()
    if change == "group":
        opt.add_param_group({"params": tensors(shapes=[(2,)])})
    elif change == "move":
        a[1].data = a[1].data.clone()
    elif change == "copy":
        a, opt = copy.deepcopy((a, opt))
    else:
        saved = copy.deepcopy(opt.state_dict())
        opt = fo.torch.optimizer(fo.Adam, a, lr=0.1, accumulate=2, nonfinite="skip")
        opt.load_state_dict(saved)
    steps(opt, a, 3, 3)
    steps(whole, b, 3, 3)
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
    assert opt.fast.steps == whole.fast.steps and opt.fast.skipped == whole.fast.skipped == 1


def test_options_that_torch_does_not_have_survive_its_checkpoint():
    a, b = tensors(), tensors()
    theirs = T.AdamW(b, lr=0.3)
    steps(theirs, b, 0)
    ours = fo.torch.optimizer(fo.AdamW, a, lr=0.1, clip_global_norm=1.0, ema=0.9)
    ours.load_state_dict(theirs.state_dict())
    (group,) = ours.param_groups
    assert group["lr"] == 0.3 and group["clip_global_norm"] == 1.0 and ours.fast.groups[0]["ema"] == 0.9
    give_gradients(a, 1)
    ours.step()


def test_state_of_another_format_is_converted_or_refused():
    a, b = tensors(torch.float32), tensors(torch.float32)
    theirs = T.Adam(b, lr=0.1)
    steps(theirs, b, 0)
    narrow = fo.torch.optimizer(fo.Adam, a, lr=0.1, state_dtype="float8")
    narrow.load_state_dict(theirs.state_dict())
    codes, exponents = (narrow.state[a[0]][name].numpy() for name in ("m", "m_exponents"))
    found = fo._arrays.dtypes.widened8(codes.reshape(-1), exponents, False).reshape(codes.shape)
    np.testing.assert_allclose(found, theirs.state[b[0]]["exp_avg"].numpy(), rtol=0.07, atol=1e-6)
    steps(narrow, a, 3)
    plain = fo.torch.optimizer(fo.Adam, a, lr=0.1)
    with pytest.raises(ValueError, match="state 'exp_avg' of '0/0': nothing, expected a tensor"):
        plain.load_state_dict(narrow.state_dict())
    p = tensors(torch.bfloat16)
    split, wide = (fo.torch.optimizer(fo.Adam, p, master=m) for m in ("split", "float32"))
    steps(split, p, 0)
    with pytest.raises(
        ValueError, match=r"state 'master' of '0/0': torch.int16, expected torch.float32: state_dtype and master as"
    ):
        wide.load_state_dict(split.state_dict())


def test_groups_that_are_edited():
    a, b = tensors(), tensors()
    ours, theirs = fo.torch.optimizer(fo.Adam, a, lr=0.1), T.Adam(b, lr=0.1)
    more = tensors(shapes=[(3,)], seed=9), tensors(shapes=[(3,)], seed=9)
    for opt, params, extra in ((ours, a, more[0]), (theirs, b, more[1])):
        steps(opt, params, 0)
        opt.param_groups[0]["params"].append(extra[0])
        give_gradients([*params, *extra], 7)
        opt.step()
        opt.param_groups[0]["params"] = [params[0], extra[0]]
        give_gradients([*params, *extra], 8)
        opt.step()
    close([*a, *more[0]], [*b, *more[1]])


def test_options_that_are_set_later():
    params = tensors()
    opt = fo.torch.optimizer(fo.SGD, params, lr=1.0)
    give_gradients(params, 0)
    opt.step()
    before = params[0].detach().clone()
    opt.param_groups[0]["clip_norm"] = 1e-3
    opt.step()
    assert torch.linalg.norm(params[0].detach() - before) < 1.01e-3 and opt.fast.steps == 2


def test_a_group_that_does_not_fit_changes_nothing():
    params = tensors()
    opt = fo.torch.optimizer(fo.Adam, params, lr=0.1)
    steps(opt, params, 0)
    before = opt.fast.fingerprint()
    with pytest.raises(ValueError, match="lr: -1"):
        opt.add_param_group({"params": tensors(shapes=[(2,)]), "lr": -1.0})
    assert len(opt.param_groups) == 1 and opt.fast.fingerprint() == before
    steps(opt, params, 3)
    two = fo.torch.optimizer(fo.Adam, [{"params": [p]} for p in tensors()], lr=0.1)
    two.param_groups[0]["lr"], two.param_groups[1]["lr"] = 0.5, -1.0
    with pytest.raises(ValueError, match=r"param_groups\[1\]: lr: -1"):
        two.step()
    assert two.fast.lr == 0.1


@pytest.mark.parametrize(("cls", "options"), [(T.SGD, {"momentum": 0.9}), (T.Adagrad, {}), (T.Rprop, {})])
def test_a_checkpoint_of_another_optimizer_is_refused(cls, options):
    a, b = tensors(), tensors()
    ours, theirs = fo.torch.optimizer(fo.AdamW, a, lr=0.1), cls(b, lr=0.2, **options)
    for opt, params in ((ours, a), (theirs, b)):
        steps(opt, params, 0)
    before, groups = ours.fast.fingerprint(), copy.deepcopy([{**g, "params": None} for g in ours.param_groups])
    with pytest.raises(ValueError, match=r"state of '0/0': .*, which is another optimizer's, not of AdamW"):
        ours.load_state_dict(theirs.state_dict())
    assert ours.fast.fingerprint() == before and [{**g, "params": None} for g in ours.param_groups] == groups
    plain = fo.torch.optimizer(fo.SGD, tensors(), lr=0.1)
    with pytest.raises(ValueError, match="exp_avg, exp_avg_sq, which is another optimizer's, not of SGD"):
        plain.load_state_dict(ours.state_dict())


def test_a_rejected_checkpoint_changes_nothing():
    a, b = tensors(), tensors()
    opt = fo.torch.optimizer(fo.AdamW, a, lr=0.1, clip_norm=1.0)
    steps(opt, a, 0)
    other = T.AdamW(b, lr=0.2)
    steps(other, b, 0)
    wrong = other.state_dict()
    wrong["state"][0]["exp_avg"] = torch.ones(2)
    with pytest.raises(ValueError, match="state 'exp_avg'"):
        opt.load_state_dict(wrong)
    opt.param_groups[0]["clip_norm"] = 0.5
    steps(opt, a, 3)
    assert opt.fast.groups[0]["clip_norm"] == 0.5 and opt.fast.lr == 0.1 and opt.fast.steps == 6


def test_a_graph_that_saved_the_old_values_may_not_go_on():
    (p,) = params = tensors(shapes=[(3,)])
    opt = fo.torch.optimizer(fo.SGD, params, lr=0.1)
    loss = (p * p).sum()
    give_gradients(params, 0)
    opt.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_one_cycle_sets_a_momentum_that_was_not_there():
    a, b = tensors(), tensors()
    pair = [(fo.torch.optimizer(fo.SGD, a, lr=0.1), a), (T.SGD(b, lr=0.1), b)]
    for opt, params in pair:
        schedule = T.lr_scheduler.OneCycleLR(opt, max_lr=0.1, total_steps=10)
        for k in range(6):
            give_gradients(params, k)
            opt.step()
            schedule.step()
    close(a, b)


def test_conjugated_gradients():
    p, q = (torch.nn.Parameter(torch.ones(3, dtype=torch.complex64)) for _ in range(2))
    g = torch.tensor([1 + 2j, 3j, 4 - 1j])
    p.grad, q.grad = g.conj(), g.conj().resolve_conj()
    fo.torch.optimizer(fo.SGD, [p], lr=0.5).step()
    T.SGD([q], lr=0.5).step()
    torch.testing.assert_close(p.detach(), q.detach())
    with pytest.raises(ValueError, match=r"zero_grads: gradients are torch's"):
        fo.torch.optimizer(fo.SGD, [p], zero_grads=True)


@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (5,), (2, 3)])
def test_lazily_negated_gradients(shape, side_by_side, exchange):
    """The imaginary part of a conjugated tensor is negated when it is read, which its memory does not say."""
    g = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.complex64).conj().imag
    g = g.as_strided(shape, torch.empty(shape).stride()) if side_by_side else g
    assert g.is_neg()
    p = torch.nn.Parameter(torch.zeros(shape))
    p.grad = g
    fo.torch.optimizer(fo.SGD, [p], lr=1.0).step()
    assert torch.equal(p.detach(), -g.resolve_neg())


class Tagged(torch.Tensor):
    """A tensor of another kind, whose methods may be its own."""


class Weight(torch.nn.Parameter):
    """A parameter of another kind."""


def test_memory_that_was_freed_is_refused(exchange):
    """As sharded training frees it; the shape stays."""
    p = torch.nn.Parameter(torch.ones(1000))
    p.grad = torch.ones(1000)
    p.grad.untyped_storage().resize_(0)
    opt = fo.torch.optimizer(fo.SGD, [p], lr=1.0)
    with pytest.raises(TypeError, match="gradient of '0/0': a tensor whose memory was freed, expected one that has some"):
        opt.step()
    assert (p == 1).all()


@pytest.mark.parametrize("change", ["kind", "expanded", "empty", "parameter"])
def test_gradients_that_are_not_torchs_plainest(change, exchange):
    shape = (0, 3) if change == "empty" else (4, 3)
    p, q = (kind(torch.ones(shape)) for kind in (Weight if change == "parameter" else torch.nn.Parameter, torch.nn.Parameter))
    a, b = fo.torch.optimizer(fo.Adam, [p], lr=0.1), T.Adam([q], lr=0.1)
    for k in range(3):
        g = torch.full(shape, k + 1.0)
        q.grad = g.clone()
        p.grad = {"kind": lambda g: g.as_subclass(Tagged), "expanded": lambda g: g[:1].expand(4, 3)}.get(change, torch.clone)(g)
        a.step()
        b.step()
    torch.testing.assert_close(p.detach(), q.detach())


def test_choices_of_a_checkpoint_hold():
    """AMSGrad's switch is in the groups, which a checkpoint brings along."""
    a, b = tensors(), tensors()
    theirs = T.Adam(b, lr=0.1, amsgrad=True)
    steps(theirs, b, 0)
    for p, q in zip(a, b, strict=True):
        p.data.copy_(q)
    ours = fo.torch.optimizer(fo.Adam, a, lr=0.5)
    ours.load_state_dict(theirs.state_dict())
    assert ours.param_groups[0]["lr"] == 0.1 and ours.fast.groups[0].rule.name == "amsgrad"
    steps(ours, a, 3)
    steps(theirs, b, 3)
    close(a, b)


def test_loss_scaling():
    (p,) = params = tensors(torch.float32, [(4,)])
    opt, scaler = fo.torch.optimizer(fo.SGD, params, lr=0.1), torch.amp.GradScaler("cpu", init_scale=1024.0)
    before = p.detach().clone()
    scaler.scale((p * 3).sum()).backward()
    scaler.step(opt)
    scaler.update()
    torch.testing.assert_close(p.detach(), before - 0.3)
    p.grad.fill_(float("inf"))
    scaler.scale((p * 3).sum()).backward()
    scaler.step(opt)
    torch.testing.assert_close(p.detach(), before - 0.3)


@pytest.mark.compiled
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts the threads that Linux shows")
@pytest.mark.parametrize(
    ("adapter", "started"), [("fo.torch.optimizer(fo.SGD, [p])", True), ("fo.SGD([p.detach().numpy()])", False)]
)
def test_threads_are_tried_at_once(adapter, started):
    """Torch's backward pass has our threads: there is no wait for others to leave the processors, as after NumPy's products."""
    code = f"""
import os, time, numpy as np, torch, fastopt as fo
p = torch.nn.Parameter(torch.from_numpy(np.ones(300_000, np.float32)))
p.grad = torch.from_numpy(np.ones(300_000, np.float32))
opt = {adapter}
n = len(os.listdir("/proc/self/task"))
for _ in range(4):
    time.sleep(2e-3)
    opt.step() if isinstance(opt, torch.optim.Optimizer) else opt.step([p.grad.numpy()])
print(len(os.listdir("/proc/self/task")) - n)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(found.stdout) == started


@pytest.mark.compiled
@pytest.mark.parametrize("first", ["torch", "fastopt"])
def test_one_pool_of_threads(first):
    """Torch and fastopt use the same OpenMP library, whichever is imported first."""
    code = f"""
import {first}
import torch, fastopt as fo, numpy as np
p = torch.nn.Parameter(torch.ones(1_000_000))
opt = fo.torch.optimizer(fo.Adam, [p], threads=2)
for _ in range(3):
    (p * p).sum().backward()
    opt.step()
libraries = {{line.split()[-1] for line in open("/proc/self/maps") if "gomp" in line or "libomp" in line or "iomp" in line}}
print(*sorted(libraries))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert len(found) == 1 and "libgomp" in found[0], found


def stepped(steps=2, n=3):
    p = torch.nn.Parameter(torch.ones(n))
    opt = fo.torch.optimizer(fo.Adam, [p])
    for k in range(steps):
        p.grad = torch.full((n,), 1.0 + k)
        opt.step()
    return p, opt


def test_state_is_asked_for_as_of_a_dict():
    p, opt = stepped()
    with pytest.raises(TypeError, match="state of '0/0': int, expected a dict"):
        opt.state[p] = 5
    assert opt.state.get(p) is opt.state[p] and opt.state.get("x", 5) == 5 and opt.state.get("x") is None


def test_a_state_that_was_taken_goes_with_another_parameter():
    p, opt = stepped()
    held = opt.state[p]
    values = {name: x.clone() for name, x in held.items()}
    del opt.state[p]
    assert all(torch.equal(held[name], x) for name, x in values.items())
    q = torch.nn.Parameter(torch.ones(4))
    opt.state[q] = {name: torch.cat([x, x[:1]]) if x.dim() else x for name, x in held.items()}
    opt.param_groups[0]["params"] = [q]
    q.grad = torch.ones(4)
    opt.step()
    state = opt.state[q]
    assert float(state["step"]) == 3 and torch.allclose(state["exp_avg"], torch.cat([values["exp_avg"]] * 2)[:4] * 0.9 + 0.1)
    assert np.array_equal(opt.fast.state["0/0"]["m"], state["exp_avg"].numpy()) and p not in opt.state


def test_states_are_exchanged():
    p, q = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    opt = fo.torch.optimizer(fo.Adam, [p, q])
    p.grad, q.grad = torch.ones(3), torch.full((3,), 5.0)
    opt.step()
    q.grad = None
    opt.step()
    before = [{name: x.clone() for name, x in opt.state[a].items()} for a in (p, q)]
    opt.state[p], opt.state[q] = opt.state[q], opt.state[p]
    for a, values in zip((q, p), before, strict=True):
        assert all(torch.equal(opt.state[a][name], x) for name, x in values.items())
    one, other = before[1]["exp_avg"], before[1]["exp_avg_sq"]
    opt.state[p].update(exp_avg=opt.state[p]["exp_avg_sq"], exp_avg_sq=opt.state[p]["exp_avg"])
    assert torch.equal(opt.state[p]["exp_avg"], other) and torch.equal(opt.state[p]["exp_avg_sq"], one)


def test_a_step_count_that_was_written_in_place_stays_when_something_else_is_written():
    p, opt = stepped()
    opt.state[p]["step"].fill_(100)
    opt.state[p]["exp_avg"] = torch.zeros(3)
    assert float(opt.state[p]["step"]) == opt.fast.state["0/0"]["step"] == 100
    for bad in (float("nan"), float("inf"), -7.0, 0.5, 1e30):
        opt.state[p]["step"].fill_(bad)
        with pytest.raises(ValueError, match="step of '0/0'"):
            opt.step()
        opt.state[p]["step"] = 3
    before = opt.state[p]["exp_avg"].clone()
    with pytest.raises(ValueError, match="step of '0/0'"):
        opt.state[p].update(exp_avg=torch.full((3,), 9.0), step=2**70)
    with pytest.raises(ValueError, match="step of '0/0'"):
        opt.state[p] = {"exp_avg": torch.full((3,), 9.0), "step": -1}
    assert torch.equal(opt.state[p]["exp_avg"], before) and float(opt.state[p]["step"]) == 3


def test_tensors_that_were_taken_see_each_step_until_others_take_their_place():
    p, opt = stepped()
    state = opt.state[p]
    m, step = state["exp_avg"], state["step"]
    opt.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))]})
    p.grad = torch.ones(3)
    opt.step()
    assert m is state["exp_avg"] and torch.equal(m, torch.from_numpy(opt.fast.state["0/0"]["m"])) and float(step) == opt.fast.steps
    before = {name: x.clone() for name, x in state.items()}
    state["exp_avg"], state["exp_avg_sq"] = state["exp_avg_sq"], state["exp_avg"]
    assert torch.equal(state["exp_avg"], before["exp_avg_sq"]) and torch.equal(state["exp_avg_sq"], before["exp_avg"])
    assert torch.equal(m, before["exp_avg"])
    state["step"] = 9
    assert float(step) == float(before["step"]) and float(state["step"]) == 9
    held = dict(state)
    values = {name: x.clone() for name, x in held.items()}
    del opt.state[p]
    assert all(torch.equal(held[name], x) for name, x in values.items())


@pytest.mark.parametrize("dampening", [0.0, 0.5])
@pytest.mark.parametrize("how", ["name", "entry", "update", "kept", "deleted", "popped"])
def test_a_momentum_of_none_begins_anew(how, dampening):
    moved = []
    for make in (functools.partial(fo.torch.optimizer, fo.SGD), T.SGD):
        p = torch.nn.Parameter(torch.ones(3))
        opt = make([p], lr=0.5, momentum=0.5, dampening=dampening)
        for k in range(4):
            p.grad = torch.full((3,), k + 1.0)
            opt.step()
            state = opt.state[p]
            if k != 1:
                continue
            if how == "name":
                state["momentum_buffer"] = None
            elif how == "entry":
                opt.state[p] = {"momentum_buffer": None}
            elif how == "kept":
                opt.state[p] = {**state, "momentum_buffer": None}
            elif how == "update":
                state.update(momentum_buffer=None)
            elif how == "deleted":
                del state["momentum_buffer"]
            else:
                state.pop("momentum_buffer")
        moved.append(p.detach())
    assert torch.equal(*moved)


def test_a_momentum_of_none_is_a_key_as_others_where_there_is_none():
    p, opt = stepped()
    opt.state[p] = {**opt.state[p], "momentum_buffer": None}
    assert opt.state[p]["momentum_buffer"] is None and float(opt.state[p]["step"]) == 2


def test_counts_and_numbers_that_were_changed_in_place_go_with_an_entry():
    p, opt = stepped()
    opt.state[p]["step"].fill_(7)
    assert float(opt.state.pop(p)["step"]) == 7
    q = torch.nn.Parameter(torch.ones(3))
    opt = fo.torch.optimizer(fo.NAdam, [q])
    q.grad = torch.ones(3)
    opt.step()
    product = opt.state[q]["mu_product"]
    opt.step()
    assert float(product) == float(opt.state[q]["mu_product"]) == opt.fast.state["0/0"]["product"]
    product.fill_(0.5)
    opt.step()
    assert opt.fast.state["0/0"]["product"] < 0.5
    before = float(product)
    opt.state[q]["mu_product"] = 0.25
    assert float(product) == before and float(opt.state[q]["mu_product"]) == 0.25


@pytest.mark.parametrize("bad", [torch.zeros(2, 2, device="meta"), torch.zeros(2, 2, dtype=torch.complex64)])
def test_entries_are_written_all_or_none(bad):
    p = torch.nn.Parameter(torch.ones(2, 2))
    opt = fo.torch.optimizer(fo.Adam, [p])
    p.grad = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    opt.step()
    held = opt.state[p]["exp_avg"]
    before = held.clone()
    for write in (opt.state[p].update, lambda **entry: opt.state.update({p: entry})):
        with pytest.raises(ValueError, match="state 'exp_avg_sq' of '0/0'"):
            write(exp_avg=torch.full((2, 2), 9.0), exp_avg_sq=bad)
        assert held is opt.state[p]["exp_avg"] and torch.equal(held, before)
    opt.state[p]["exp_avg"] = held.t()
    assert torch.equal(opt.state[p]["exp_avg"], before.t())


def gone_on(make, between, steps=(3.0, 1.0), dtype=None):
    """A parameter after steps, something that is done to its optimizer, and more steps."""
    p = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    opt = make([p])
    for g in (1.0, 2.0):
        p.grad = torch.full_like(p, g)
        opt.step()
    between(opt, p)
    for g in steps:
        p.grad = torch.full_like(p, g)
        opt.step()
    return [p.detach(), *(opt.state_dict()["state"][0][name] for name in ("step", "exp_avg"))]


def exchange_memory(opt, p):
    for x in opt.state[p].values():
        x.data = x.data.clone() + 1


def exchange_and_write(opt, p):
    m = opt.state[p]["exp_avg"]
    m.data = torch.full((3,), 4.0)
    m.mul_(0.5)
    opt.state[p]["exp_avg"] = m


def write_to_what_is_gone(opt, p):
    old, entry = opt.state, opt.state[p]
    opt.load_state_dict(copy.deepcopy(opt.state_dict()))
    entry["step"] = torch.tensor(1000.0)
    entry.clear()
    old.clear()


def reset_and_restore(opt, p):
    backup = opt.state
    opt.state = {}
    opt.state = backup


def replace_and_clear(opt, p):
    old = opt.state
    opt.state = {p: {name: x.clone() for name, x in old[p].items()}}
    old.clear()


def put_back(opt, p):
    held = opt.state[p]["exp_avg"]
    opt.state[p] = dict(opt.state[p])
    held.mul_(0.5)
    entry = opt.state.pop(p)
    opt.state[p] = entry
    entry["exp_avg"].mul_(0.5)


@pytest.mark.parametrize(
    "between", [exchange_memory, exchange_and_write, write_to_what_is_gone, reset_and_restore, replace_and_clear, put_back]
)
def test_what_is_done_to_state_is_torchs(between):
    ours = gone_on(functools.partial(fo.torch.optimizer, fo.Adam, lr=0.1), between)
    theirs = gone_on(functools.partial(T.Adam, lr=0.1), between)
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("cls", [fo.Adam, fo.NAdam, fo.ASGD])
@pytest.mark.parametrize("options", [{}, {"nonfinite": "skip"}])
def test_a_key_of_ones_own_is_all_that_state_holds_when_a_step_is_made(cls, options):
    p = torch.nn.Parameter(torch.ones(3))
    opt = fo.torch.optimizer(cls, [p], **options)
    opt.state["x"] = 1
    p.grad = torch.ones(3)
    opt.step()
    assert opt.state["x"] == 1 and float(opt.state[p]["step"]) == opt.fast.steps == 1


def test_state_in_shared_memory_is_refused():
    p, opt = stepped()
    opt.state[p]["exp_avg"].share_memory_()
    with pytest.raises(ValueError, match="state 'exp_avg' of '0/0': in shared memory"):
        opt.step()


@pytest.mark.parametrize("there", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("here", [torch.bfloat16, torch.float32])
def test_state_follows_a_parameter_to_another_dtype(here, there):
    p = torch.nn.Parameter(torch.ones(3, dtype=here))
    opt = fo.torch.optimizer(fo.Adam, [p], lr=0.01)
    for g in (1.0, 2.0, 3.0):
        p.grad = torch.full_like(p, g)
        opt.step()
    before = opt.state[p]["exp_avg"].double()
    p.data = p.data.to(there)
    p.grad = torch.zeros(3, dtype=there)
    opt.step()
    assert torch.allclose(opt.state[p]["exp_avg"].double(), before * 0.9, rtol=1e-2) and (before > 0.4).all()


def test_a_checkpoint_follows_parameters_that_are_reordered_or_added():
    moved = []
    for resume in (False, True):
        p, q, r = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
        opt = fo.torch.optimizer(fo.SGD, [p, q], lr=1.0, accumulate=2)
        p.grad = torch.ones(2)
        opt.step()
        opt.param_groups[0]["params"].reverse()
        opt.param_groups[0]["params"].append(r)
        if resume:
            opt.load_state_dict(copy.deepcopy(opt.state_dict()))
        p.grad, q.grad = None, torch.full((2,), 4.0)
        opt.step()
        moved.append(torch.stack([p.detach(), q.detach()]))
    assert torch.equal(*moved) and (moved[0] != 0).all()


def test_entries_of_torchs_names_are_stored_in_8_bits():
    p = torch.nn.Parameter(torch.ones(3))
    opt = fo.torch.optimizer(fo.Adam, [p], state_dtype="float8")
    opt.state[p] = {"step": 3, "exp_avg": torch.full((3,), 0.5), "exp_avg_sq": torch.full((3,), 0.25)}
    assert np.allclose(opt.fast.state["0/0"]["m"], 0.5) and opt.fast.steps == 0 and float(opt.state[p]["step"]) == 3
    opt.state[p]["exp_avg"] = torch.full((3,), 2.0)
    assert np.allclose(opt.fast.state["0/0"]["m"], 2.0) and "exp_avg" not in opt.state[p]


def test_counts_that_the_engines_optimizer_was_given_are_shown():
    p, opt = stepped()
    assert float(opt.state[p]["step"]) == 2
    opt.fast.steps = 50
    assert float(opt.state[p]["step"]) == 50 == float(opt.state_dict()["state"][0]["step"])


def test_state_that_was_first_seen_in_inference_mode_can_be_written():
    p, opt = stepped()
    with torch.inference_mode():
        assert float(opt.state[p]["step"]) == 2
    before = opt.state[p]["exp_avg"].clone()
    opt.state[p]["exp_avg"].mul_(0.5)
    assert np.array_equal(opt.fast.state["0/0"]["m"], (before * 0.5).numpy())


@pytest.mark.parametrize("adapter", [True, False])
def test_state_that_is_read_and_written_back_changes_nothing_where_rows_are_behind(adapter):
    moved = []
    for touch in (False, True):
        p = torch.nn.Parameter(torch.ones(6, 2))
        w = p.detach().numpy()
        opt = fo.torch.optimizer(fo.Adam, [p], lr=0.1, mode="exact") if adapter else fo.Adam(w, lr=0.1, mode="exact")

        def steps(rows, x, count, opt=opt, p=p):
            for _ in range(count):
                g = torch.full((len(rows), 2), x)
                p.grad = torch.sparse_coo_tensor([rows], g, (6, 2), check_invariants=True)
                opt.step() if adapter else opt.step(fo.RowGradient(rows, g.numpy()))

        steps([*range(6)], 1.0, 1)
        steps([1], 2.0, 5)
        if touch and adapter:
            opt.state[p] = {name: x.clone() for name, x in opt.state[p].items()}
        elif touch:
            opt.state["0"]["m"], opt.state["0"]["v"] = opt.state["0"]["m"].copy(), opt.state["0"]["v"].copy()
        steps([1], 2.0, 5)
        (opt.fast if adapter else opt).catch_up()
        moved.append(w.copy())
    assert np.array_equal(*moved)
