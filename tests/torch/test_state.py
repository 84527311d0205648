"""Torch's ``state`` of the adapter: read, written, replaced and deleted as torch's own."""

import copy
import functools

import numpy as np
import pytest
from torch_tools import give_gradients, steps, tensors

import fastopt as fo

torch = pytest.importorskip("torch")
T = torch.optim


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
