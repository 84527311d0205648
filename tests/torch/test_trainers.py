"""The ways in which trainers move, save and reload state, as Lightning and Accelerate do, and lazy modules in them."""

import copy
import io
import warnings
from collections import OrderedDict

import pytest
from torch_tools import close, give_gradients, steps, tensors

import fastopt as fo

torch = pytest.importorskip("torch")
T = torch.optim


def moved(x, device):
    """Return a copy in which each tensor has been moved, as Accelerate and Lightning do: mappings of the same class."""
    if isinstance(x, torch.Tensor):
        return x.to(device)
    if isinstance(x, dict):
        return type(x)(OrderedDict((k, moved(y, device)) for k, y in x.items()))
    return type(x)(moved(y, device) for y in x) if isinstance(x, (list, tuple)) else x


@pytest.mark.parametrize("cls", [fo.torch.SGD, fo.torch.AdamW, fo.torch.RMSprop, fo.torch.Adafactor])
def test_state_that_trainers_move_and_save(cls, tmp_path):
    options = {"momentum": 0.9} if cls is fo.torch.SGD else {}
    whole = tensors()
    straight = cls(whole, lr=0.01, **options)
    steps(straight, whole, 0, 8)
    params = tensors()
    optimizer = cls(params, lr=0.01, **options)
    steps(optimizer, params, 0, 2)
    # Lightning: each value of the state is replaced by what was moved.
    for p, entry in optimizer.state.items():
        optimizer.state[p] = moved(entry, "cpu")
    steps(optimizer, params, 2, 2)
    # Accelerate: the state dictionary is moved, and loaded into the same optimizer when it is wrapped.
    optimizer.load_state_dict(moved(optimizer.state_dict(), "cpu"))
    steps(optimizer, params, 4, 2)
    # Both: a file without pickled code.
    torch.save({"optimizer_states": [optimizer.state_dict()], "params": [p.data for p in params]}, tmp_path / "last.ckpt")
    found = torch.load(tmp_path / "last.ckpt", weights_only=True, map_location="cpu")
    again = [torch.nn.Parameter(p) for p in found["params"]]
    resumed = cls(again, lr=0.5, **options)
    resumed.load_state_dict(found["optimizer_states"][0])
    assert resumed.param_groups[0]["lr"] == 0.01
    steps(resumed, again, 6, 2)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))


def test_wrappers_that_patch_a_step():
    """Accelerate patches `step`, and both pass closures; Lightning toggles requires_grad in between."""
    params, theirs = tensors(), tensors()
    optimizer, reference = fo.torch.Adam(params, lr=0.1), T.Adam(theirs, lr=0.1)
    called = []
    original = optimizer.step.__func__

    def patched(self, *args, **kwargs):
        called.append(True)
        return original(self, *args, **kwargs)

    optimizer.step = patched.__get__(optimizer, type(optimizer))

    def closure_of(of):
        def closure():
            give_gradients(of, 7)
            return torch.tensor(3.0)

        return closure

    for k in range(4):
        for each in (*params, *theirs):
            each.requires_grad_(k % 2 == 0)
            each.requires_grad_(True)
        assert optimizer.step(closure_of(params)) == reference.step(closure_of(theirs)) == 3.0
    close(params, theirs)
    assert len(called) == 4


def test_torchs_distributed_checkpoint_format():
    """The names of parameters instead of places, as torch.distributed.checkpoint asks for."""
    state_dict = pytest.importorskip("torch.distributed.checkpoint.state_dict")
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    optimizer = fo.torch.AdamW(model.parameters(), lr=0.1)
    steps(optimizer, list(model.parameters()), 0)
    _, found = state_dict.get_state_dict(model, optimizer)
    assert set(found["state"]) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    other = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    other.load_state_dict(model.state_dict())
    second = fo.torch.AdamW(other.parameters(), lr=0.1)
    state_dict.set_optimizer_state_dict(other, second, found)
    for each, net in ((optimizer, model), (second, other)):
        steps(each, list(net.parameters()), 3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_a_file_of_a_whole_optimizer():
    params = tensors()
    optimizer = fo.torch.Adam(params, lr=0.1)
    steps(optimizer, params, 0)
    buffer = io.BytesIO()
    torch.save(optimizer, buffer)
    buffer.seek(0)
    found = torch.load(buffer, weights_only=False)
    assert type(found) is fo.torch.Adam and found.fast.fingerprint() == optimizer.fast.fingerprint()


def lazy_model():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.LazyLinear(4), torch.nn.Linear(4, 2))


@pytest.mark.parametrize("cls", [fo.torch.Adam, T.Adam])
def test_a_checkpoint_before_a_module_has_memory(cls):
    """It is loaded into the parameters that there are, and into the others once they have memory, as in torch."""
    x = torch.linspace(-1, 1, 15).reshape(5, 3)

    def train(model, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

    whole = lazy_model()
    whole(x)
    first = cls(whole.parameters(), lr=0.1)
    train(whole, first, 3)
    kept = copy.deepcopy(first.state_dict())
    weights = copy.deepcopy(whole.state_dict())
    other = lazy_model()
    second = cls(other.parameters(), lr=0.1)
    second.load_state_dict(copy.deepcopy(kept))
    other(x)
    other.load_state_dict(weights)
    train(whole, first, 3)
    train(other, second, 3)
    close(list(other.parameters()), list(whole.parameters()))
    assert all(second.state[p]["step"] == 6 for p in other.parameters())


def test_reloading_what_accelerate_reloads():
    p, q = tensors()
    with pytest.warns(UserWarning, match="duplicate parameters"):
        twice = fo.torch.SGD([p, p, q], lr=0.1, momentum=0.9)
    steps(twice, [p, q], 0)
    for optimizer in (twice, fo.torch.Adam([{"params": []}]), fo.torch.Adam(lazy_model().parameters())):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before = optimizer.fast.fingerprint()
            optimizer.load_state_dict(moved(optimizer.state_dict(), "cpu"))
            assert optimizer.fast.fingerprint() == before
    fo.torch.Adam([{"params": []}], master="float32").step()
