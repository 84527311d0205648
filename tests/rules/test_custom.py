"""Users' rules: the bits, options, checks, errors and files of the built-in ones."""

import copy
import linecache
import pickle
import re
import shutil
import subprocess
import sys
import textwrap
import warnings

import custom_rules
import numpy as np
import pytest
import standin
from c_interface import Library, Steps, compiled
from cases import data, same
from custom_rules import again, average, clipped, counting

import fastopt as fo
from fastopt import custom
from fastopt._codegen.subset import RuleError
from fastopt._engine import dispatch, interpreted
from fastopt.cuda import backend, compiler

needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "own"))


@pytest.fixture
def uncompiled(monkeypatch):
    """A rule as it is before it is compiled."""
    monkeypatch.setattr(again.formula, "capsule", None)
    return again


def ignored(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return fo.optimizer(*arguments, **options)


OPTIONS = {"clip_global_norm": 1.0, "weight_decay": 0.1, "bounds": (-6.0, 6.0), "max_step": 0.1, "ema": 0.9}


@pytest.mark.parametrize("options", [{}, OPTIONS, {"state_dtype": "float8"}, {"state_dtype": "bfloat16", "nonfinite": "zero"}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_interpreted_it_has_the_bits_of_the_built_in_rule(dtype, options, uncompiled):
    if dtype == np.float64 and "state_dtype" in options:
        pytest.skip("of float32 parameters")
    a, b = data(700, dtype, 1), data(700, dtype, 1)
    ours, theirs = ignored(uncompiled, a, lr=0.01, **options), fo.Adam(b, lr=0.01, **options)
    for k in range(3):
        g = data(700, dtype, k + 5)
        ours.step(g)
        theirs.step(g)
    assert same(a, b) and isinstance(ours._backend, interpreted.InterpretedBackend) and isinstance(ours, custom.CustomOptimizer)


@pytest.mark.compiled
@needs_compiler
@pytest.mark.parametrize("options", [{}, OPTIONS, {"state_dtype": "float8"}, {"state_dtype": "bfloat16"}, {"threads": 2}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_too(dtype, options):
    if dtype == np.float64 and "state_dtype" in options:
        pytest.skip("of float32 parameters")
    fo.compile(again)
    a, b = data(100_003, dtype, 1), data(100_003, dtype, 1)
    ours, theirs = fo.optimizer(again, a, lr=0.01, **options), fo.Adam(b, lr=0.01, **options)
    for k in range(3):
        g = data(100_003, dtype, k + 5)
        ours.step(g)
        theirs.step(g)
    assert same(a, b)
    assert dispatch.TABLE is None or not isinstance(ours._backend, interpreted.InterpretedBackend)


def test_it_warns_that_it_is_interpreted(uncompiled):
    if dispatch.TABLE is None:
        pytest.skip("everything is")
    with pytest.warns(RuntimeWarning, match=r"again runs interpreted: right, but slow; fastopt.compile\(again\) makes a kernel"):
        fo.optimizer(again, np.ones(3))
    assert repr(again) == "<rule again(p, g, m, v), interpreted>"


def test_defaults_names_and_groups():
    w = np.ones(3)
    opt = ignored(average, w, lr=fo.schedules.linear_decay(0.5, 10), w=0.25)
    opt.step(np.array([1.0, 2.0, 4.0]))
    np.testing.assert_array_equal(w, 1 - 0.5 * 0.25 * np.array([1.0, 2.0, 4.0]))
    assert opt.state["0"]["m"][0] == 0.25 and repr(opt).startswith("<average(lr=") and type(opt).__name__ == "average"
    with pytest.raises(TypeError, match=r"average: lr: no default, expected lr=..."):
        fo.optimizer(average, w)
    with pytest.raises(TypeError, match="average: unknown momentum"):
        ignored(average, w, lr=1.0, momentum=0.5)
    with pytest.raises(ValueError, match="lr: -1"):
        ignored(average, w, lr=-1.0)
    with pytest.raises(TypeError, match=r"expected what fastopt.rule makes"):
        fo.optimizer(fo.Adam, w)
    a, b = np.ones(2), np.ones(2)
    groups = ignored(average, [{"params": a, "lr": 1.0}, {"params": b, "lr": 0.5, "weight_decay": 1.0}], w=1.0)
    groups.step([np.ones(2), np.ones(2)])
    assert (a == 0).all() and (b == 0).all()
    decoupled = ignored(average, a, lr=0.5, weight_decay=1.0, decoupled_weight_decay=True)
    assert [s.name for s in decoupled.groups[0].stages if s.name in ("l2", "decoupled")] == ["decoupled"]
    own_decay = ignored(clipped, np.ones(2), lr=0.1, weight_decay=2.0)
    assert own_decay.groups[0].index["weight_decay"] == 1 and not {"l2", "decoupled"} & {s.name for s in own_decay.groups[0].stages}


def test_numbers_that_are_kept(tmp_path):
    w = np.ones(3)
    opt = ignored(counting, w)
    for _ in range(3):
        opt.step(np.ones(3))
    assert opt.state["0"]["total"] == 6.0
    opt.save(tmp_path / "own.npz")
    v = np.zeros(3)
    other = ignored(counting, v)
    other.load(tmp_path / "own.npz")
    assert other.fingerprint() == opt.fingerprint() and same(v, w)


@pytest.mark.parametrize("rule", [again, average, counting])
def test_copies(rule):
    opt = ignored(rule, data(20), **({"lr": 0.1} if rule is average else {}))
    opt.step(data(20, seed=3))
    for made in (pickle.loads(pickle.dumps(opt)), copy.deepcopy(opt)):
        assert made.fingerprint() == opt.fingerprint() and isinstance(made, rule.Optimizer)
        made.step(data(20, seed=4))
        assert made.fingerprint() != opt.fingerprint()
    assert pickle.loads(pickle.dumps(rule)) is rule is copy.deepcopy(rule)


STEP = "def bad(p, g, *, step):\n    return step * g\n@bad.scalars\ndef _(t, *, lr):\n    return "
REFUSED = {
    "def bad(p, g, *, lr):\n    return lr * np.tanh(g)": r":6: 'np.tanh\(g\)' is not allowed in an update; an update may use",
    "def bad(p, g, *, lr):\n    p += g\n    return lr * g": r":6: 'p \+= g' is not 'name = expression'; an update may use",
    "def bad(p, g, *, lr):\n    if lr:\n        g = g + 1\n    return lr * g": r":6: (.|\n)*is not 'name = expression'",
    "def bad(p, g, m, *, lr):\n    return lr * g": ":5: returns 1 values, expected the update and 1 of state",
    "def bad(g, p, *, lr):\n    return lr * g": ":5: expected a rule of p, g",
    "def bad(p, g, *, lr):\n    return lr * sqrt(g)": ":6: sqrt is not imported from fastopt.arithmetic",
    "def bad(p, g, long, *, lr):\n    return lr * g, long": ":5: the name long is taken",
    "def bad(p, g, a, *, lr):\n    return lr * g, a": ":5: the name a is taken",
    "def bad(p, g, s1, s2, s3, s4, s5, s6, s7, *, lr):\n    return lr * g, s1, s2, s3, s4, s5, s6, s7": ":5: has .9, 1, 1.",
    "def bad(p, g, *, lr, \u03bb):\n    return lr * g": ":5: the name \u03bb is not in ASCII",
    "def größe(p, g, *, lr):\n    return lr * g\nbad = größe": ":5: the name größe is not in ASCII",
    "def register(p, g, *, lr):\n    return lr * g\nbad = register": ":5: the name register is taken",
    "def bad(p, g, NAN, *, lr):\n    return lr * g, NAN": ":5: the name NAN is taken",
    STEP + "{'step': lr ** 2}": r":9: 'lr \*\* 2' is not allowed in a scalars function",
    STEP + "{'other': lr}": r":9: returns \('other',\), but bad takes \('step',\)",
}


OTHERS = {
    "def bad(p, g, m: of_rows, *, lr):\n    m = m + g\n    return lr * m, m": ":6: of_rows: expected one of velocity, nonneg",
    "def adam(p, g, *, lr):\n    return lr * g\nbad = adam": ":6: adam is a rule of the package, expected another name",
}


def test_tags_and_names_that_are_the_packages_own(tmp_path, monkeypatch):
    for k, (text, message) in enumerate(OTHERS.items()):
        (tmp_path / f"rules{k}.py").write_text(
            f"import numpy as np\nimport fastopt as fo\nfrom fastopt.arithmetic import of_rows\n\n@fo.rule\n{text}\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(RuleError, match=f"rules{k}.py{message}"):
            fo.compile(__import__(f"rules{k}").bad)


@pytest.mark.parametrize("name", ["maximize", "max_step", "ema", "threads", "seed", "params", "scale"])
def test_hyperparameters_that_are_options_are_refused(name, tmp_path, monkeypatch):
    (tmp_path / f"of_{name}.py").write_text(
        f"import fastopt as fo\n\n@fo.rule\ndef bad(p, g, *, lr, {name}):\n    return lr * g * {name}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuleError, match=f"bad: the hyperparameter {name} would be an option of every optimizer"):
        fo.optimizer(__import__(f"of_{name}").bad, np.ones(2), lr=0.1)


def test_state_of_a_rule_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    saved = None
    for k, text in enumerate(("lr * g", "lr * g * 2", "lr * g")):
        (tmp_path / f"version{k}.py").write_text(
            f"import fastopt as fo\n\n@fo.rule\ndef same(p, g, *, lr=0.1):\n    return {text}\n"
        )
        opt = ignored(__import__(f"version{k}").same, np.ones(2))
        if k == 1:
            with pytest.raises(ValueError, match=r"of rule same \w+, expected same \w+"):
                opt.load_state_dict(saved)
        elif k == 2:
            opt.load_state_dict(saved)
        else:
            saved = opt.state_dict()


def test_a_false_tag_is_found():
    rule = fo.rule(custom_rules.falling.function)
    with pytest.raises(AssertionError, match="falling: m is tagged nonnegative, and is -"):
        fo.testing.check_rule(rule)
    with pytest.raises(TypeError, match=r"rule: .*Adam.*, expected what fastopt.rule makes"):
        fo.testing.check_rule(fo.Adam)
    with pytest.raises(TypeError, match="average: lr: no default"):
        fo.testing.check_rule(average)
    with pytest.raises(ValueError, match="expected each name once"):
        fo.source("c", [again, again])
    with pytest.raises(TypeError, match=r"expected names and what fastopt.rule makes"):
        fo.source("c", fo.Adam)


@pytest.mark.parametrize("compiled", [False, True])
def test_in_torch(compiled, monkeypatch):
    torch = pytest.importorskip("torch")
    if not compiled:
        monkeypatch.setattr(again.formula, "capsule", None)
    elif dispatch.TABLE is None or not shutil.which("cc"):
        pytest.skip("interpreted")
    else:
        fo.compile(again)
    p, q = (torch.nn.Parameter(torch.ones(5)) for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        ours = fo.torch.optimizer(again, [p], lr=0.1)
    theirs = fo.torch.optimizer(fo.Adam, [q], lr=0.1)
    for k in range(3):
        p.grad, q.grad = torch.full((5,), k + 1.0), torch.full((5,), k + 1.0)
        ours.step()
        theirs.step()
    assert torch.equal(p, q)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_outside_the_subset_is_refused_with_its_line(text, tmp_path, monkeypatch):
    (tmp_path / "rules.py").write_text(f"import numpy as np\nimport fastopt as fo\n\n@fo.rule\n{text}\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("rules", None)
    import rules

    for call in (lambda: fo.optimizer(rules.bad, np.ones(2), lr=0.1), lambda: fo.compile(rules.bad)):
        with pytest.raises(RuleError, match="rules.py" + REFUSED[text]):
            call()
    sys.modules.pop("rules")


def test_a_rule_without_source_is_refused():
    space = {"fo": fo}
    exec("@fo.rule\ndef hidden(p, g, *, lr):\n    return lr * g", space)
    with pytest.raises(RuleError, match=r"hidden: its source cannot be read .*: define it with def in a file or a notebook$"):
        fo.optimizer(space["hidden"], np.ones(2), lr=0.1)
    short = fo.rule(lambda p, g, *, lr: lr * g)
    with pytest.raises(RuleError, match=r"expected a function that def defines|its source cannot be read"):
        fo.optimizer(short, np.ones(2), lr=0.1)
    assert repr(fo.rule(space["hidden"].function)) == "<rule hidden>"
    with pytest.raises(TypeError, match="rule: 3, expected a function"):
        fo.rule(3)
    with pytest.raises(RuntimeError, match=r"again.scalars: this rule is already in use"):
        again.formula  # noqa: B018
        again.scalars(lambda t: {})


@needs_compiler
def test_check_rule():
    for rule, numbers in ((again, {}), (average, {"lr": 0.1}), (counting, {}), (clipped, {"lr": 0.1, "weight_decay": 0.1})):
        fo.testing.check_rule(rule, **numbers)


def test_check_rule_finds_what_is_wrong(monkeypatch):
    rule = fo.rule(custom_rules.average.function)
    monkeypatch.setattr(rule.formula, "function", lambda p, g, m, *, lr, w: (lr * (g - g.mean()), m))
    with pytest.raises(AssertionError, match="average: an element depends on its position"):
        fo.testing.check_rule(rule, lr=0.1)
    monkeypatch.setattr(rule.formula, "function", lambda p, g, m, *, lr, w: (lr * g.astype(float), m))
    with pytest.raises(AssertionError, match=r"average: the update is .*, expected float32"):
        fo.testing.check_rule(rule, lr=0.1)

    def changes(p, g, m, *, lr, w):
        m += g
        return lr * g, m + 0

    monkeypatch.setattr(rule.formula, "function", changes)
    with pytest.raises(AssertionError, match="average changes m, which it was given"):
        fo.testing.check_rule(rule, lr=0.1)


def test_explain(capsys):
    w = np.array([[1.0, 2.0], [3.0, 4.0]])
    opt = fo.Adam({"w": w}, lr=0.5, betas=(0.5, 0.75), eps=0, weight_decay=0.25, clip_value=2.0)
    before = opt.fingerprint()
    opt.explain("w", (1, 0), 8.0)
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "w[(1, 0)], step 1 of Adam" and opt.fingerprint() == before
    fo.Adam(w.copy(), clip_norm=1.0).explain("0", (1, 0), 8.0)
    assert "  clip_norm: depends on whole arrays; what follows is as if it changed nothing\n" in capsys.readouterr().out
    for line in (
        "p = 3.0",
        "g = where(g > most, most, where(g < -most, -most, g))  [clip_value]  ->  2.0",
        "g = g + weight_decay * p  [l2]  ->  2.75",
        "w1 = 0.5",
        "m = m + w1 * (g - m)  ->  1.375",
        "update = step_size * m / (sqrt(v + root) + eps)  ->  0.5",
        "p = p - update  ->  2.5",
    ):
        assert f"  {line}\n" in out
    with pytest.raises(KeyError, match="'v': no such parameter, expected one of 'w'"):
        opt.explain("v", 0, 1.0)
    with pytest.raises(IndexError, match="not one element of 'w'"):
        opt.explain("w", 0, 1.0)
    with pytest.raises(IndexError):
        opt.explain("w", (7, 7), 1.0)
    with pytest.raises(ValueError, match="explain: prodigy needs sums over whole arrays"):
        fo.Prodigy(np.ones(2)).explain("0", 0, 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_explain_tells_what_the_step_does(dtype, capsys):
    for make in (
        lambda p: fo.AdamW(p, lr=0.1, ema=0.9),
        lambda p: fo.SGD(np.asfortranarray(p), lr=0.1, momentum=0.9),
        lambda p: ignored(again, p),
    ):
        opt = make(data(12, dtype, 1).reshape(3, 4))
        for k in range(3):
            g = data(12, dtype, k + 2).reshape(3, 4)
            opt.explain("0", (2, 1), float(g[2, 1]))
            told = re.findall(r"^  p = .*  ->  (\S+)$", capsys.readouterr().out, re.M)[-1]
            opt.step(g)
            assert dtype(told) == opt.params[2, 1]


@pytest.mark.compiled
@needs_compiler
def test_in_c(tmp_path):
    """The C interface knows a compiled rule, and the C file can hold it."""
    fo.compile(again)
    for found in (compiled(fo.source("c", [again, "sgd"]), tmp_path), Library(fo.embed.addresses())):
        p, q, g = data(1000, np.float32, 1), data(1000, np.float32, 1), data(1000, np.float32, 2)
        fo.optimizer(again, p, clip_norm=1.0).step(g)
        Steps(found, fo.optimizer(again, q, clip_norm=1.0), [g]).step()
        assert same(p, q)


def test_in_cuda(tmp_path, monkeypatch):
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path))
    compiler.kernels.cache_clear()
    with standin.installed() as cupy:
        host = data(700, np.float32, 1)
        there = cupy.array(host)
        cpu, gpu = ignored(again, host, clip_norm=1.0), fo.optimizer(again, there, clip_norm=1.0)
        assert isinstance(gpu._backend, backend.CudaBackend)
        for k in range(3):
            g = data(700, np.float32, k + 5)
            cpu.step(g)
            gpu.step(cupy.array(g))
        assert same(host, there.get()) and cpu.fingerprint() == gpu.fingerprint()
        made = pickle.loads(pickle.dumps(gpu))
        assert made.fingerprint() == gpu.fingerprint() and isinstance(made._backend, backend.CudaBackend)
    compiler.kernels.cache_clear()


def test_annotations_that_are_text(tmp_path, monkeypatch):
    text = """
    from __future__ import annotations
    import fastopt as fo
    from fastopt import arithmetic
    from fastopt.arithmetic import velocity

    @fo.rule
    def tagged(p, g, m: velocity, v: arithmetic.nonnegative, *, lr=0.1):
        m = m + g
        v = v + g * g
        return lr * m, m, v
    """
    (tmp_path / "tagged_rules.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    from tagged_rules import tagged

    assert tagged.formula.tags == {"m": "velocity", "v": "nonnegative"} and tagged.text.function.tags[2:] == (
        "velocity",
        "nonnegative",
    )


ELSEWHERE = """
import pickle, sys
import numpy as np
import warnings
warnings.simplefilter("ignore")
opt = pickle.loads(sys.stdin.buffer.read())
opt.step(np.full(3, 0.5))
print(repr(opt.params), type(opt).update.__qualname__)
"""


def test_a_rule_that_nobody_can_import_goes_into_another_process():
    space = {"__name__": "__main__", "fo": fo}
    text = """
from fastopt.arithmetic import power, sign, velocity
@fo.rule
def vote(p, g, m: velocity, *, step, w):
    m = m + w * (g - m)
    return step * sign(m), m
@vote.scalars
def _(t, *, lr=0.1, beta=0.5):
    return {"step": lr * (1 - power(beta, t)), "w": 1 - beta}
"""
    linecache.cache["<cell>"] = (len(text), None, text.splitlines(keepends=True), "<cell>")
    exec(compile(text, "<cell>", "exec"), space)
    here = ignored(space["vote"], np.ones(3))
    here.step(np.full(3, 0.5))
    sent = pickle.dumps(here)
    here.step(np.full(3, 0.5))
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], input=sent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == f"{here.params!r} vote"
    again_here = pickle.loads(pickle.dumps(space["vote"]))
    assert again_here is pickle.loads(pickle.dumps(again_here)) and copy.deepcopy(space["vote"]) is space["vote"]


def test_a_rule_of_a_module_is_that_very_rule():
    assert pickle.loads(pickle.dumps(again)) is again


BOUNDED = """
import fastopt as fo
from fastopt.domains import fraction, positive

@fo.rule
def bounded(p, g, m, *, lr, w):
    m = m + w * (g - m)
    return lr * m, m

@bounded.scalars
def _(t, *, lr: positive = 0.1, beta: fraction = 0.9, gamma=-1.0):
    return {"lr": lr + 0 * gamma, "w": 1 - beta}
"""


def test_domains_of_hyperparameters(tmp_path, monkeypatch):
    (tmp_path / "bounded_rule.py").write_text(BOUNDED)
    monkeypatch.syspath_prepend(str(tmp_path))
    from bounded_rule import bounded  # type: ignore[import-not-found]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for options in ({"beta": 1.0}, {"lr": 0.0}, {"beta": -0.1}):
            with pytest.raises(ValueError, match=r"lr: 0.0, expected|beta: -?\d\.\d, expected 0 <= beta < 1"):
                fo.optimizer(bounded, np.ones(2), **options)
        made = fo.optimizer(bounded, np.ones(2), beta=0.5, gamma=-7.0)
        text = pickle.dumps(made)
        del sys.modules["bounded_rule"]
        monkeypatch.undo()
        again = pickle.loads(text)  # by its text: the module cannot be found any more
        with pytest.raises(ValueError, match=r"beta: 2\.0, expected"):
            again.groups[0]["beta"] = 2.0
