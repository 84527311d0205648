"""A class of torch's for each optimizer: torch's own inputs and properties, and the ways in which trainers move and save state."""

import copy
import inspect
import pickle
import warnings

import pytest
from torch_tools import close, give_gradients, steps, tensors

import fastopt as fo

torch = pytest.importorskip("torch")
T = torch.optim
common = pytest.importorskip("torch.testing._internal.common_optimizers")

OF_TORCH = {info.optim_cls.__name__: info for info in common.optim_db if info.optim_cls.__name__ not in ("LBFGS", "SparseAdam")}
# What torch's inputs ask for that fastopt does otherwise.
DIFFERENT = {
    "Muon": "torch's products of matrices are in bfloat16",
    "Muon only supports 2D parameters": "others are updated by Adam, as its authors advise",
}
CUDA = {"capturable", "foreach", "fused", "differentiable"}


def inputs(name):
    """Return the options of torch's own test inputs for a class."""
    found = OF_TORCH[name].optim_inputs_func(device="cpu")
    return [
        {k: x for k, x in case.kwargs.items() if k not in CUDA}
        for case in found
        if not CUDA & {k for k, x in case.kwargs.items() if x}
    ]


ALL_INPUTS = [(name, k) for name in OF_TORCH for k in range(len(inputs(name)))]


def shapes_of(name):
    return [(4, 3), (5, 7)] if name == "Muon" else [(4, 3), (7,), (), (2, 3, 2)]


@pytest.mark.parametrize(("name", "k"), ALL_INPUTS)
def test_torchs_inputs(name, k):
    options = inputs(name)[k]
    ours, theirs = tensors(shapes=shapes_of(name)), tensors(shapes=shapes_of(name))
    mine, reference = getattr(fo.torch, name)(ours, **options), getattr(T, name)(theirs, **options)
    for first in range(0, 9, 3):
        steps(mine, ours, first)
        steps(reference, theirs, first)
        close(ours, theirs, 0.05 if name in DIFFERENT else None)
    # Groups, of which one has other options and one is empty.
    ours, theirs = tensors(shapes=shapes_of(name)), tensors(shapes=shapes_of(name))
    for cls, params in ((getattr(fo.torch, name), ours), (getattr(T, name), theirs)):
        optimizer = cls([{"params": params[:1], "lr": 0.02}, {"params": []}, {"params": params[1:]}], **options)
        steps(optimizer, params, 0)
        optimizer.param_groups[2]["lr"] = 0.03
        steps(optimizer, params, 3)
    close(ours, theirs, 0.05 if name in DIFFERENT else None)


@pytest.mark.parametrize("name", OF_TORCH)
def test_torchs_errors(name):
    for case in OF_TORCH[name].optim_error_inputs_func("cpu", torch.float32):
        given = case.optimizer_error_input
        if case.error_on.name != "CONSTRUCTION_ERROR" or CUDA & given.kwargs.keys() or case.error_regex in DIFFERENT:
            continue
        # A parameter that is given twice is warned of; tests make errors of warnings.
        with pytest.raises((case.error_type, TypeError, ValueError)):
            getattr(fo.torch, name)(given.params, **given.kwargs)


@pytest.mark.parametrize("name", OF_TORCH)
def test_state_and_groups_have_torchs_keys(name):
    for options in inputs(name):
        ours, theirs = tensors(shapes=shapes_of(name)), tensors(shapes=shapes_of(name))
        mine, reference = getattr(fo.torch, name)(ours, **options), getattr(T, name)(theirs, **options)
        steps(mine, ours, 0)
        steps(reference, theirs, 0)
        found, expected = mine.state_dict(), reference.state_dict()
        assert found["state"].keys() == expected["state"].keys()
        for k, entry in expected["state"].items():
            assert {key for key, x in entry.items() if x is not None} == set(found["state"][k]), (name, options)
        for group, of_torch in zip(found["param_groups"], expected["param_groups"], strict=True):
            assert group["params"] == of_torch["params"] and {*of_torch} - CUDA - {"decoupled_weight_decay"} <= {*group}
        assert str(mine).splitlines()[0] == str(reference).splitlines()[0] == f"{name} ("


@pytest.mark.parametrize("name", OF_TORCH)
def test_arguments_by_position(name):
    parameters = list(inspect.signature(getattr(T, name).__init__).parameters.values())[2:]
    values = [p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name not in CUDA and p.name != "maximize"]
    values[0] = 0.0123
    ours, theirs = tensors(shapes=shapes_of(name)), tensors(shapes=shapes_of(name))
    mine, reference = getattr(fo.torch, name)(ours, *values), getattr(T, name)(theirs, *values)
    for key, x in reference.param_groups[0].items():
        if key in mine.cls.arguments:
            assert mine.param_groups[0][key] == x, key
    with pytest.raises(TypeError, match="given twice, or there are too many"):
        getattr(fo.torch, name)(ours, 0.1, lr=0.2)
    with pytest.raises(TypeError, match="given twice, or there are too many"):
        getattr(fo.torch, name)(ours, *range(20))


def test_every_optimizer_has_a_class():
    for name in fo.optimizers.__all__:
        cls = getattr(fo.torch, name)
        assert cls.__name__ == name and cls.__module__ == "fastopt.torch" and issubclass(cls, fo.torch.Optimizer)
        assert name in fo.torch.__all__ and cls.__doc__.startswith(getattr(fo, name).__doc__.splitlines()[0])
        assert "lr" in inspect.signature(cls).parameters or "lr" not in getattr(fo, name).arguments
    params = tensors()
    made = fo.torch.optimizer(fo.AdamW, params, lr=0.1)
    assert type(made) is fo.torch.AdamW and isinstance(made, fo.torch.Adam) and isinstance(made, T.Optimizer)
    assert repr(made).startswith("AdamW (")
    with pytest.raises(TypeError, match="a base class"):
        fo.torch.Optimizer(params)


def test_profilers_show_the_class():
    params = tensors()
    optimizer = fo.torch.Lion(params, lr=0.1)
    give_gradients(params, 0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step()
        optimizer.zero_grad()
    names = {event.key for event in profile.key_averages()}
    assert {"Optimizer.step#Lion.step", "Optimizer.zero_grad#Lion.zero_grad"} <= names


class Own(fo.torch.Adam):
    """A subclass of a user's."""


@pytest.mark.parametrize("cls", [fo.torch.SGD, fo.torch.AdamW, fo.torch.Prodigy, Own])
def test_pickles(cls):
    params = tensors()
    optimizer = cls(params, lr=0.1)
    steps(optimizer, params, 0)
    for copied in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        assert type(copied) is cls
        theirs = copied.param_groups[0]["params"]
        assert all(torch.equal(a, b) for a, b in zip(params, theirs, strict=True))
        mine = copy.deepcopy(optimizer)
        for each in (copied, mine):
            steps(each, each.param_groups[0]["params"], 3)
        assert copied.fast.fingerprint() == mine.fast.fingerprint()


def test_what_chooses_an_implementation():
    for name in ("foreach", "fused"):
        with pytest.warns(UserWarning, match=f"{name}: ignored") as caught:
            fo.torch.Adam(tensors(), **{name: True})
        assert caught[0].filename == __file__
        with pytest.warns(UserWarning, match=f"{name}: ignored"):
            fo.torch.Adam([{"params": tensors(), name: True}])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for x in (None, False):
                fo.torch.Adam(tensors(), **{name: x})
    for name in ("capturable", "differentiable"):
        fo.torch.Adam(tensors(), **{name: False})
        with pytest.raises(ValueError, match=f"{name}: records steps"):
            fo.torch.Adam(tensors(), **{name: True})
        optimizer = fo.torch.Adam(tensors())
        with pytest.raises(ValueError, match=f"{name}: records steps"):
            optimizer.add_param_group({"params": tensors(), name: True})
        assert len(optimizer.param_groups) == 1
    with pytest.raises(TypeError, match="weight_decay: a dict of values by name, expected groups"):
        fo.torch.Adam(tensors(), weight_decay={"0": 0.1})


def test_a_parameter_given_twice():
    p, q = tensors()
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optimizer = fo.torch.SGD([p, p, q], lr=0.1, momentum=0.9)
    reference = tensors()
    theirs = T.SGD(reference, lr=0.1, momentum=0.9)
    steps(optimizer, [p, q], 0)
    steps(theirs, reference, 0)
    close([p, q], reference)
    with pytest.raises(ValueError, match="more than one parameter group"):
        fo.torch.SGD([{"params": [p]}, {"params": [p]}], lr=0.1)


def test_no_parameters_yet():
    with pytest.raises(ValueError, match="empty parameter list"):
        fo.torch.Adam([])
    optimizer = fo.torch.Adam([{"params": []}], lr=0.1)
    assert optimizer.step() is None and len(optimizer.state) == 0 and optimizer.state_dict()["state"] == {}
    params, theirs = tensors(), tensors()
    reference = T.Adam([{"params": []}], lr=0.1)
    for each, given in ((optimizer, params), (reference, theirs)):
        each.add_param_group({"params": given})
        steps(each, given, 0)
    close(params, theirs)
    assert set(optimizer.state) == set(params)
    copy.deepcopy(fo.torch.Adam([{"params": []}])).step()


@pytest.mark.parametrize("dry", [True, False])
def test_lazy_modules(dry):
    """Parameters of lazy modules take part from their first use on, as in torch."""
    results = []
    for cls in (fo.torch.Adam, T.Adam):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LazyLinear(2), torch.nn.ReLU(), torch.nn.LazyLinear(1))
        optimizer = cls(model.parameters(), lr=0.1)
        if dry:
            optimizer.step()
        x = torch.linspace(-1, 1, 12).reshape(4, 3)
        model(x)
        with torch.no_grad():
            for k, p in enumerate(model.parameters()):
                p.copy_(torch.linspace(-0.5, 0.7, p.numel()).reshape(p.shape) * (k + 1) / 6)
        for _ in range(5):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        results.append([p.detach().clone() for p in model.parameters()])
        assert len(optimizer.state) == 6 and all(optimizer.state[p]["step"] == 5 for p in model.parameters())
    close(*results)
    everything_lazy = torch.nn.LazyLinear(2)
    optimizer = fo.torch.SGD(everything_lazy.parameters(), lr=0.1)
    optimizer.step()
    everything_lazy(torch.ones(3, 3)).sum().backward()
    before = everything_lazy.bias.detach().clone()
    optimizer.step()
    assert torch.allclose(everything_lazy.bias, before - 0.3)


def test_the_engine_agrees_with_the_groups_at_once():
    params = tensors()
    optimizer = fo.torch.AdamW(params, lr=0.1)
    optimizer.param_groups[0]["lr"] = 0.25
    assert optimizer.fast.groups[0]["lr"] == 0.25 and optimizer.fast.lr == 0.25
    optimizer.param_groups[0]["weight_decay"] = -1.0
    with pytest.raises(ValueError, match="weight_decay"):
        optimizer.fast  # noqa: B018
    optimizer.param_groups[0]["weight_decay"] = 0.5
    optimizer.param_groups[0]["amsgrad"] = True  # Another rule.
    assert optimizer.fast.groups[0]["amsgrad"] and optimizer.fast.groups[0]["weight_decay"] == 0.5
    seen = []
    optimizer = fo.torch.SGD(params, lr=lambda t: seen.append(optimizer.fast.steps) or 0.1)
    steps(optimizer, params, 0)
    assert seen[-3:] == [0, 1, 2]


def test_sgd_has_torchs_state():
    for options in ({}, {"momentum": 0.9}):
        params, theirs = tensors(), tensors()
        optimizer, reference = fo.torch.SGD(params, lr=0.1, **options), T.SGD(theirs, lr=0.1, **options)
        for each, given in ((optimizer, params), (reference, theirs)):
            steps(each, given, 0)
        assert len(optimizer.state) == len(reference.state)
        assert [sorted(x) for x in optimizer.state.values()] == [sorted(x) for x in reference.state.values()]
        close(
            [x for e in optimizer.state.values() for x in e.values()] + params,
            [x for e in reference.state.values() for x in e.values()] + theirs,
        )
        saved = optimizer.state_dict()
        again = fo.torch.SGD(params, lr=0.1, **options)
        again.load_state_dict(saved)
        assert again.fast.fingerprint() == optimizer.fast.fingerprint()


def test_two_networks_of_the_same_names():
    nets = [torch.nn.Linear(3, 2) for _ in range(2)]
    optimizer = fo.torch.Adam([pair for net in nets for pair in net.named_parameters()], lr=0.1)
    starts = [p.detach().clone() for net in nets for p in net.parameters()]
    sum(net(torch.ones(1, 3)).sum() for net in nets).backward()
    optimizer.step()
    moved_all = [p for net in nets for p in net.parameters()]
    assert all(torch.allclose(p, start - 0.1, atol=1e-6) for p, start in zip(moved_all, starts, strict=True))


def test_momentum_that_is_set_to_zero():
    results = []
    for cls in (fo.torch.SGD, T.SGD):
        params = tensors()
        optimizer = cls(params, lr=0.1, momentum=0.9)
        steps(optimizer, params, 0)
        optimizer.param_groups[0]["momentum"] = 0.0
        steps(optimizer, params, 3)
        for again in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
            steps(again, again.param_groups[0]["params"], 6)
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        steps(optimizer, params, 6)
        results.append(params)
    close(*results)


def test_a_parameter_that_was_taken_out_and_comes_back():
    results = []
    for cls in (fo.torch.Adam, T.Adam):
        params = tensors()
        optimizer = cls(params, lr=0.1)
        steps(optimizer, params, 0)
        out = optimizer.param_groups[0]["params"].pop()
        steps(optimizer, params, 3)
        optimizer.param_groups[0]["params"].append(out)
        steps(optimizer, params, 6)
        results.append(params)
        assert optimizer.state[out]["step"] == 6
    close(*results)


def test_decay_of_another_optimizer_is_refused():
    theirs = tensors()
    reference = T.Adam(theirs, weight_decay=0.5, decoupled_weight_decay=True)
    steps(reference, theirs, 0)
    optimizer = fo.torch.Adam(tensors())
    with pytest.raises(ValueError, match="decoupled_weight_decay: of another optimizer than Adam"):
        optimizer.load_state_dict(reference.state_dict())
    assert fo.torch.Adam(tensors(), weight_decay=0.5, decoupled_weight_decay=False).param_groups[0]["weight_decay"] == 0.5
    with pytest.raises(ValueError, match=r"expected fastopt\.torch\.AdamW"):
        fo.torch.Adam(tensors(), weight_decay=0.5, decoupled_weight_decay=True)


def test_signatures_say_what_has_a_place():
    found = inspect.signature(fo.torch.Adam).parameters
    assert [name for name, p in found.items() if p.kind is p.POSITIONAL_OR_KEYWORD] == [
        "params", "lr", "betas", "eps", "weight_decay", "amsgrad",
    ]  # fmt: skip
    assert found["eps_root"].kind is inspect.Parameter.KEYWORD_ONLY

    class Mine(fo.Lion):
        """A rule of a user's."""

    Mine.__name__ = "SGD"
    params = tensors()
    made = type(fo.torch.optimizer(Mine, params))(params, 0.3, (0.5, 0.9))
    assert made.param_groups[0]["betas"] == (0.5, 0.9)


def test_what_is_uncorrected_stays_so():
    params, theirs = tensors(), tensors()
    optimizer, reference = fo.torch.Adam(params, lr=0.1, uncorrected=True), T.Adam(theirs, lr=0.1)
    steps(reference, theirs, 0)
    optimizer.load_state_dict(copy.deepcopy(reference.state_dict()))
    assert optimizer.fast.state["0/0"]["step"] == 2**40 + 3
    optimizer.state.clear()
    assert optimizer.fast.state["0/0"]["step"] == 2**40
    optimizer.param_groups[0]["uncorrected"] = False
    assert optimizer.fast.state["0/0"]["step"] == 0
    optimizer.param_groups[0]["uncorrected"] = True
    steps(optimizer, params, 0)
    assert optimizer.fast.state["0/0"]["step"] == 2**40 + 3


def test_names_that_clash_with_those_of_repeated_ones():
    params = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    optimizer = fo.torch.SGD([("w#2", params[0]), ("w", params[1]), ("w", params[2])], lr=0.1)
    for p in params:
        p.grad = torch.ones(2)
    optimizer.step()
    assert all(torch.allclose(p, torch.tensor(-0.1)) for p in params)
