"""Torch's optimizer over the engine: what torch's own optimizers do, and the same numbers."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from torch_tools import close, give_gradients, steps, tensors

import fastopt as fo

torch = pytest.importorskip("torch")
T = torch.optim


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


def test_single_parameter_steps_from_backward_hooks():
    """A parameter is updated as soon as its gradient is there, and the gradient released."""
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


def test_what_does_not_fit_is_refused_and_nothing_lost():
    params = tensors()
    with pytest.raises(TypeError, match=r"cls: <class 'torch.optim.adam.Adam'>, expected a class of fastopt's"):
        fo.torch.optimizer(T.Adam, params)
    with pytest.raises(TypeError, match="Adam: unknown fuse"):
        fo.torch.optimizer(fo.Adam, params, fuse=True)
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


def test_the_engines_optimizer_has_no_gradients_of_its_own():
    params = tensors()
    opt = fo.torch.optimizer(fo.Adam, params)
    give_gradients(params, 0)
    opt.step()
    opt.zero_grad()
    with pytest.raises(ValueError, match=r"step.. without gradients"):
        opt.fast.step()


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
    assert two._fast.lr == 0.1


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
