"""The C interface: the bits of the optimizers, from the package's functions and from the C file that needs no Python."""

import ctypes
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from c_interface import Library, Steps, compiled
from cases import CASES, STAGE_OPTIONS, data, make, same

import fastopt as fo
from fastopt import embed
from fastopt._engine import dispatch
from fastopt.spec import RULES, STAGES

HERE = Path(__file__).parents[1]
FORMATS = {"float32": np.float32, "float64": np.float64, "bfloat16": fo.bfloat16, "float16": np.float16}
pytestmark = [pytest.mark.compiled, pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")]
NO_MATRICES = [case for case in CASES if "adafactor" not in case and "muon" not in case]


@pytest.fixture(scope="module")
def standalone(tmp_path_factory):
    """One C file without Python, of all rules."""
    folder = tmp_path_factory.mktemp("c")
    return compiled(fo.source("c"), folder, "-Wall", "-Wextra", "-Werror")


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """The same file with square roots by FMA."""
    if "x86-64-v4" not in dispatch.available():
        pytest.skip("needs AVX-512")
    flags = ["-Wall", "-Wextra", "-Werror", "-march=x86-64-v4", "-DFASTOPT_FMA_ROOTS"]
    return compiled(fo.source("c"), tmp_path_factory.mktemp("vectors"), *flags)


@pytest.fixture(params=["package", *(pytest.param(name, marks=pytest.mark.full) for name in ("standalone", "vectors"))])
def library(request):
    return Library(embed.addresses()) if request.param == "package" else request.getfixturevalue("standalone")


def arrays(dtype=np.float32, seed=1):
    sizes = [1000, 3, 0, 256, 70_001]
    return [np.asarray(data(n, np.float64, seed + k)).astype(dtype) for k, n in enumerate(sizes)]


def converted(values, name):
    """Arrays stored so, from float64."""
    if name == "bfloat16":
        return [(a.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(fo.bfloat16) for a in values]
    return [a.astype(FORMATS[name]) for a in values]


def check(library, case, dtype="float32", of_gradient=None, parts=0, threads=1, **options):
    ours, theirs = converted(arrays(np.float64), dtype), converted(arrays(np.float64), dtype)
    optimizer, described = make(case, ours, **options), make(case, theirs, **options)
    steps = None
    for t in range(1, 4):
        grads = converted(arrays(np.float64, seed=10 * t), of_gradient or dtype)
        optimizer.step(grads)
        if steps is None:
            held = grads
            steps = Steps(library, described, held)
        for a, g in zip(held, grads, strict=True):
            a[...] = g
        if parts:
            steps.step_in_parts(parts, t)
        else:
            steps.step(threads, t)
    assert any(not np.array_equal(a, b) for a, b in zip(ours, converted(arrays(np.float64), dtype), strict=True))
    for a, b, one, other in zip(ours, theirs, optimizer._parameters, described._parameters, strict=True):
        assert same(
            np.asarray(a).view(np.uint16) if dtype == "bfloat16" else a, np.asarray(b).view(np.uint16) if dtype == "bfloat16" else b
        )
        for x, y in zip(one.state.values(), other.state.values(), strict=True):
            assert same(x, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", NO_MATRICES)
def test_every_rule(case, dtype, library):
    check(library, case, dtype)


@pytest.mark.parametrize("case", ["adam", "nadam", "momentum", "adamw"])
@pytest.mark.parametrize("parts", [1, 2, 7, 1000])
def test_parts_have_the_bits_of_the_whole(case, parts, library):
    check(library, case, parts=parts)
    check(library, case, parts=parts, state_dtype="float8")


@pytest.mark.parametrize("case", ["adam", "lamb", "prodigy", "dog"])
def test_threads_have_the_bits_of_one(case, library):
    check(library, case, threads=2)
    check(library, case, threads=0)
    check(library, case, threads=1000)


@pytest.mark.parametrize("option", STAGE_OPTIONS)
@pytest.mark.parametrize("case", ["momentum", "adamw", "adam-options"])
def test_every_stage(case, option, library):
    check(library, case, **STAGE_OPTIONS[option])


@pytest.mark.parametrize("case", NO_MATRICES[::4])
def test_all_stages_together(case, library):
    if case.startswith("schedule-free"):
        pytest.skip("refuses some of them")
    everything = {k: x for option in STAGE_OPTIONS.values() for k, x in option.items()}
    check(library, case, threads=2, **everything)
    check(library, case, "float64", threads=2, **everything)


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
@pytest.mark.parametrize("state_dtype", ["float32", "bfloat16", "float16", "float8"])
@pytest.mark.parametrize("case", ["adam", "lion", "prodigy", "ftrl"])
def test_every_format_of_state(case, state_dtype, rounding, library):
    check(library, case, state_dtype=state_dtype, rounding=rounding)


@pytest.mark.parametrize(
    ("dtype", "master"), [("float16", None), ("bfloat16", None), ("bfloat16", "float32"), ("bfloat16", "split")]
)
def test_parameters_of_16_bits(dtype, master, library):
    check(library, "adamw", dtype, master=master, clip_global_norm=1.0)
    check(library, "adamw", dtype, of_gradient="float32", master=master, state_dtype="float8")


@pytest.mark.parametrize("of_gradient", FORMATS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_other_dtypes(dtype, of_gradient, library):
    check(library, "adam", dtype, of_gradient=of_gradient)


@pytest.mark.parametrize("options", [{}, {"clip_global_norm": 1.0}, {"state_dtype": "bfloat16"}])
def test_from_one_array_into_another(options, library):
    """param_in is read and param_out written."""
    p, q, out = data(70_001, np.float32, 1), data(70_001, np.float32, 1), np.full(70_001, np.nan, np.float32)
    g = data(70_001, np.float32, 2)
    fo.Adam(p, **options).step(g)
    steps = Steps(library, fo.Adam(q, **options), [g])
    steps.u["param_out"] = out.ctypes.data
    steps.step()
    assert same(out, p) and same(q, data(70_001, np.float32, 1))


def one(library, **changes):
    p, g, m, v = (np.ones(4, np.float32) for _ in range(4))
    u = embed.updates(1)
    u["rule"], u["n"], u["t"] = library.find_rule(b"adam"), 4, 1
    u["param_in"] = u["param_out"] = p.ctypes.data
    u["grad"], u["state"][0, :2] = g.ctypes.data, (m.ctypes.data, v.ctypes.data)
    for name, x in changes.items():
        u[name] = x
    return u, (p, g, m, v)


REFUSED = [
    ({"size": 8}, 1, b"update 0: size 8, expected"),
    ({"rule": 0}, 1, b"update 0: a rule that this library does not have"),
    ({"n": -1}, 4, b"update 0: -1 elements"),
    ({"t": 0}, 4, b"update 0: t is 0, expected the number of this step: 1, 2, ..."),
    ({"grad": 0}, 2, b"update 0: grad is NULL"),
    ({"param_out": 0}, 2, b"update 0: the parameter is NULL"),
    ({"state": 0}, 2, b"update 0: state m, or its exponents, is NULL"),
    ({"state_format": 4}, 2, b"update 0: state m, or its exponents, is NULL"),
    ({"state_format": 1}, 3, b"update 0: parameter, gradient and state in formats 0, 0 and 1"),
    ({"param_format": 1}, 3, b"update 0: parameter, gradient and state in formats 1, 0 and 0"),
    ({"grad_format": 9}, 3, b"update 0: parameter, gradient and state in formats 0, 9 and 0"),
    ({"low_bits": 1}, 3, b"update 0: master or low_bits, expected one of them, of a bfloat16 parameter"),
    ({"n_stages": 1}, 2, b"update 0: stages are NULL"),
]


@pytest.mark.parametrize(("changes", "code", "message"), REFUSED)
def test_what_is_wrong_is_said_and_nothing_changed(changes, code, message, library):
    u, carry = one(library, **changes)
    assert library.apply(u.ctypes.data, 1, 1) == code and library.message().startswith(message)
    assert all((a == 1).all() for a in carry)


def test_numbers_out_of_their_domains_are_refused(library):
    h = np.array([1e-3, 1.5, 0.999, 1e-8, 0.0, 0.0])
    u, carry = one(library, hyperparameters=h.ctypes.data)
    assert library.apply(u.ctypes.data, 1, 1) == 4 and library.message() == b"update 0: beta1 is 1.5, expected 0 to 1"
    h[1] = np.nan
    assert library.apply(u.ctypes.data, 1, 1) == 4
    assert library.apply(0, 1, 1) == 2 and library.apply(0, 0, 1) == 0 and library.apply(0, -1, 1) == 4
    assert library.apply(u.ctypes.data, 1, -1) == 4 and library.apply_part(u.ctypes.data, 1, 2, 2) == 4
    assert all((a == 1).all() for a in carry)


@pytest.mark.parametrize("first", ["clip_value", "clip_norm"])
@pytest.mark.parametrize("then", ["clip_norm", "clip_global_norm"])
def test_a_limit_beyond_floats_changes_no_norm_before_it(first, then, library):
    if first == then:
        return
    p, q, g = np.zeros(2, np.float32), np.zeros(2, np.float32), np.full(2, 1e39)
    options = {"lr": 1.0, first: 1.0, then: 1e39}
    fo.SGD(p, **options).step(g)
    Steps(library, fo.SGD(q, **options), [g]).step()
    assert same(p, q) and (np.abs(p) > 0.7).all()


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
@pytest.mark.parametrize("case", ["lars", "dog"])
def test_one_call_of_a_rule_that_sums_and_one_that_does_not(case, order, library):
    """The second sums over floats and doubles, which one block holds."""
    kinds = [[np.float32], [np.float32, np.float64]]
    params = [[data(20, kind, seed=k) for k, kind in enumerate(of)] for of in kinds]
    there = [[p.copy() for p in of] for of in params]
    grads = [[data(20, p.dtype, seed=10 + k) for k, p in enumerate(of)] for of in params]
    for name, of, g in zip(("sgd", case), params, grads, strict=True):
        make(name, of).step(g)
    steps = [Steps(library, make(name, of), g) for name, of, g in zip(("sgd", case), there, grads, strict=True)]
    both = np.concatenate([steps[k].u for k in order])
    both["t"] = 1
    assert library.apply(both.ctypes.data, len(both), 1) == 0, library.message()
    assert all(same(a, b) for of, other in zip(params, there, strict=True) for a, b in zip(of, other, strict=True))


def test_parts_refuse_sums_and_kept_numbers_in_place(library):
    norm = np.array([1.0])
    use = np.zeros(1, embed.STAGE_ARGS)
    use["size"], use["stage"], use["hyperparameters"] = (
        embed.STAGE_ARGS.itemsize,
        library.find_stage(b"clip_norm"),
        norm.ctypes.data,
    )
    u, carry = one(library, stages=use.ctypes.data, n_stages=1)
    assert library.apply_part(u.ctypes.data, 1, 0, 2) == 5 and b"sums over whole arrays" in library.message()
    assert library.apply_part(u.ctypes.data, 1, 0, 1) == 0
    again = np.repeat(use, 2)
    u["stages"], u["n_stages"] = again.ctypes.data, 2
    assert library.apply(u.ctypes.data, 1, 1) == 1 and library.message() == b"update 0: stage clip_norm twice"
    numbers = np.ones(1)
    u, carry = one(library, rule=library.find_rule(b"nadam"), carry_in=numbers.ctypes.data, carry_out=numbers.ctypes.data)
    assert library.apply_part(u.ctypes.data, 1, 0, 2) == 2 and b"of several parts different ones" in library.message()
    assert library.apply(u.ctypes.data, 1, 1) == 0 and numbers[0] != 1 and carry
    many = np.concatenate([one(library, rule=library.find_rule(name))[0] for name in (b"dog", b"prodigy")])
    state = np.ones((2, 6, 4), np.float32)
    many["state"] = [[a.ctypes.data for a in row] for row in state]
    many["carry_out"] = np.zeros(6).ctypes.data
    params, grad = np.ones((2, 4), np.float32), np.ones(4, np.float32)
    many["param_in"] = many["param_out"] = [a.ctypes.data for a in params]
    many["grad"] = grad.ctypes.data
    assert library.apply(many.ctypes.data, 2, 1) == 1 and library.message().startswith(b"rules dog and prodigy both sum")


@pytest.mark.parametrize("case", ["nadam", "schedule-free-sgd"])
def test_numbers_that_are_kept_in_place_with_threads(case, library):
    """Small updates between large ones: one part has the end of one, another its beginning."""
    sizes = (1_024_000, 512, 1_024_000)
    ours, theirs = ([data(n, np.float32, k + 1) for k, n in enumerate(sizes)] for _ in range(2))
    grads = [data(n, np.float32, k + 5) for k, n in enumerate(sizes)]
    optimizer = make(case, ours)
    steps = Steps(library, make(case, theirs), grads)
    for t in range(1, 4):
        optimizer.step(grads)
        steps.step(2, t)
    assert all(same(a, b) for a, b in zip(ours, theirs, strict=True))


def test_stages_out_of_their_domains_and_arrays_that_overlap_are_refused(library):
    least = np.array([-1.0])
    use = np.zeros(1, embed.STAGE_ARGS)
    use["size"], use["stage"], use["hyperparameters"] = (
        embed.STAGE_ARGS.itemsize,
        library.find_stage(b"clip_norm"),
        least.ctypes.data,
    )
    u, carry = one(library, stages=use.ctypes.data, n_stages=1)
    assert library.apply(u.ctypes.data, 1, 1) == 4
    assert library.message() == b"update 0, stage clip_norm: clip_norm is -1, expected 0 to inf"
    u, carry = one(library)
    u["param_out"] += 4
    assert library.apply(u.ctypes.data, 1, 1) == 2 and b"param_in and param_out overlap" in library.message()
    u, carry = one(library, n=2**60)
    assert library.apply(u.ctypes.data, 1, 1) == 4 and all((a == 1).all() for a in carry)


@pytest.mark.full
def test_rules_of_one_library_are_not_the_other_ones(standalone):
    package = Library(embed.addresses())
    u, _ = one(standalone)
    assert package.apply(u.ctypes.data, 1, 1) == 1 and b"does not have" in package.message()


def test_messages_are_each_threads_own():
    library = Library(embed.addresses())
    u, _ = one(library, n=-7)
    assert library.apply(u.ctypes.data, 1, 1) == 4
    seen = []

    def other():
        seen.append(library.message())
        v, _ = one(library, t=-3)
        library.apply(v.ctypes.data, 1, 1)
        seen.append(library.message())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert library.message() == b"update 0: -7 elements, expected 0 to 2**46"
    assert seen == [b"", b"update 0: t is -3, expected the number of this step: 1, 2, ..."]


def test_a_newer_programs_longer_structs_are_walked(library):
    u, (p, *_) = one(library)
    longer = np.dtype({"names": ["u"], "formats": [embed.UPDATE], "itemsize": embed.UPDATE.itemsize + 16})
    two = np.zeros(2, longer)
    two["u"] = np.repeat(u, 2)
    two["u"]["size"] = longer.itemsize
    two["u"]["n"] = [2, 2]
    two["u"]["param_in"][1] = two["u"]["param_out"][1] = p.ctypes.data + 8
    assert library.apply(two.ctypes.data, 2, 1) == 0
    assert p[0] == p[1] != 1 and p[2] == p[3] != 1


def shown(library, kind):
    """Names of all, in their order."""
    at, found = getattr(library, f"{kind}_at"), []
    while (address := at(len(found))) is not None:
        found.append(ctypes.string_at(ctypes.c_void_p.from_address(address + 16).value).decode())
    return found


def test_what_there_is(library):
    expected = [name for name, rule in RULES.items() if not rule.terms_scope]
    assert shown(library, "rule")[: len(expected)] == expected  # users' own come after
    assert shown(library, "stage") == [name for name, stage in STAGES.items() if not stage.is_for_optimizers]
    assert library.find_rule(b"adamm") is None and library.find_rule(None) is None and library.find_stage(b"") is None
    assert library.rule_at(-1) is None


def test_numba_finds_the_functions_by_cythons_names():
    extending = pytest.importorskip("numba.extending")
    for name, address in embed.addresses().items():
        if name != "fastopt_interface":
            assert extending.get_cython_function_address("fastopt.embed.interface", name) == address


def test_descriptions_are_copies():
    """Callers that change a description change no rule."""
    embed.rules()["adam"]["hyperparameters"]["lr"] = embed.stages()["decoupled"]["hyperparameters"]["lr"] = 7.0
    embed.rules()["adam"]["states"].clear()
    assert embed.rules()["adam"]["hyperparameters"]["lr"] == 1e-3 and embed.stages()["decoupled"]["hyperparameters"]["lr"] is None
    assert embed.rules()["adam"]["states"] == ["m", "v"]


def test_errors_of_python():
    with pytest.raises(ValueError, match="rule: 'adamm', which fastopt does not have"):
        embed.find_rule("adamm")
    with pytest.raises(ValueError, match="language: 'fortran', expected 'c' or 'cuda'"):
        fo.source("fortran")
    with pytest.raises(ValueError, match=r"rules: \['muon'\], expected among"):
        fo.source("c", ["muon"])
    assert "FO_KERNEL adam_step" in fo.source("cuda", "adam")
    assert Path(fo.get_include(), "fastopt.h").is_file()


PROBE = """
#include <stdio.h>
#include "fastopt.h"
#define SHOW(type, member) printf("%s.%s %zu %zu\\n", #type, #member, offsetof(type, member), sizeof(((type *)0)->member))
int main(void)
{
"""


def abi(tmp_path):
    """Layouts, constants and signatures, as a C compiler and Cython see them."""
    header = (Path(fo.get_include()) / "fastopt.h").read_text()
    from fastopt.embed import interface

    frozen = json.loads((HERE / "abi.json").read_text())
    lines = [PROBE]
    for name, members in frozen["structs"].items():
        lines += [f'printf("{name} %zu\\n", sizeof({name}));', *(f"SHOW({name}, {member});" for member in members if member)]
    lines += [f'printf("{name} %d\\n", {name});' for name in frozen["constants"]]
    (tmp_path / "probe.c").write_text("\n".join([*lines, "}"]))
    subprocess.run(["cc", "-std=c99", "-I", fo.get_include(), tmp_path / "probe.c", "-o", tmp_path / "probe"], check=True)
    said = subprocess.run([tmp_path / "probe"], capture_output=True, text=True, check=True).stdout.splitlines()
    found = {"structs": {name: {} for name in frozen["structs"]}, "constants": {}}
    for line in said:
        name, *numbers = line.split()
        struct, _, member = name.partition(".")
        if struct in found["structs"]:
            found["structs"][struct][member] = [int(x) for x in numbers]
        else:
            found["constants"][name] = int(numbers[0])
    found["functions"] = {name: str(x).split('"')[1] for name, x in sorted(interface.__pyx_capi__.items())}
    library = Library(embed.addresses())
    rules = {name: RULES[name] for name in shown(library, "rule") if name in RULES}
    found["rules"] = {n: [[*r.state], [*r.hyperparameters], [*r.carry]] for n, r in rules.items()}
    found["stages"] = {n: [[*STAGES[n].hyperparameters], STAGES[n].stage_arrays] for n in shown(library, "stage")}
    return found, frozen, header


def test_the_abi_is_frozen(tmp_path):
    """Members may be added at the end of structs, and rules and stages; nothing that is there may move."""
    found, frozen, header = abi(tmp_path)
    assert found == frozen
    for name, members in frozen["structs"].items():
        body = header.split(f"typedef struct {name} {{")[1].split(f"}} {name};")[0]
        assert all(member in body for member in members if member)
        assert max(offset + size for offset, size in (x for k, x in members.items() if k)) + 8 > members[""][0]


def test_the_numpy_dtypes_are_those_of_c(tmp_path):
    found, _, _ = abi(tmp_path)
    for name, dtype in {"fastopt_update": embed.UPDATE, "fastopt_stage_args": embed.STAGE_ARGS}.items():
        fields = {k: [offset, x.itemsize] for k, (x, offset) in ((n, dtype.fields[n][:2]) for n in dtype.names)}
        assert fields | {"": [dtype.itemsize]} == found["structs"][name]


if __name__ == "__main__":  # --write: freeze what there is; structs' new members are to be in the file, with any numbers
    assert sys.argv[1:] == ["--write"]
    with tempfile.TemporaryDirectory() as folder:
        found, _, _ = abi(Path(folder))
    text = json.dumps(found, indent=1)
    for nested in (r"\[\s+([^\[\]]*?)\s+\]", r"\[\s+(\[[^\]]*\](?:,\s+\[[^\]]*\])*)\s+\]"):  # lists on one line
        text = re.sub(nested, lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", text)
    (HERE / "abi.json").write_text(text + "\n")
