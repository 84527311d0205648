"""Checkpoints that go both ways, or are refused."""

import copy
import io

import numpy as np
import pytest
from torch_tools import close, give_gradients, steps, tensors

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
