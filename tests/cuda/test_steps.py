"""Optimizers of CuPy arrays: files, copies, reports, streams, devices, errors."""

import copy
import pickle
import shutil

import numpy as np
import pytest
import standin
from cases import data, make
from cuda_tools import check_same, start, there

import fastopt as fo
from fastopt.cuda import compiler, tables


@pytest.mark.filterwarnings("ignore:bounds of .* were outside")
def test_groups_schedules_and_reports(cupy):
    host = start()
    on_device = there(cupy, host)
    names = list(host)

    def groups(params):
        first = {"params": {n: params[n] for n in names[:3]}, "lr": 0.05, "weight_decay": 0.1, "clip_norm": 0.5}
        return [first, {"params": {n: params[n] for n in names[3:]}, "lr": fo.schedules.linear_decay(0.1, 10), "betas": (0.5, 0.9)}]

    cpu, gpu = (fo.Adam(groups(x), norms=True, clip_global_norm=2.0, bounds=(-1, 1)) for x in (host, on_device))
    for k in range(3):
        grads = start(seed=k + 40)
        cut = [{n: g[n] for n in part} for part in (names[:3], names[3:]) for g in [grads]]
        assert cpu.step(cut) and gpu.step([there(cupy, part) for part in cut])
        assert cpu.report() == gpu.report()
    cpu.groups[0]["lr"] = gpu.groups[0]["lr"] = 1e-3
    assert cpu.lr == gpu.lr
    cpu.add_group({"params": np.ones(5, np.float32)})
    gpu.add_group({"params": cupy.array(np.ones(5, np.float32))})
    last = [*({n: None for n in part} for part in (names[:3], names[3:])), np.arange(5, dtype=np.float32)]
    assert cpu.step(last) and gpu.step([*last[:2], cupy.array(last[2])])
    assert cpu.fingerprint() == gpu.fingerprint()


@pytest.mark.parametrize("case", ["adam", "prodigy", "nadam", "dog", "schedule-free-adamw", "adafactor", "muon"])
def test_files_load_on_either(case, cupy, tmp_path):
    """Train on the device, resume on the CPU; and back."""
    host = start()
    on_device = there(cupy, start(seed=7))
    cpu, gpu = make(case, host), make(case, on_device)
    for k in range(2):
        gpu.step(there(cupy, start(seed=k + 60)))
    gpu.save(tmp_path / "there.npz", extra={"epoch": 3})
    assert cpu.load(tmp_path / "there.npz") == {"epoch": 3}
    assert cpu.fingerprint() == gpu.fingerprint()
    grads = start(seed=70)
    cpu.step(grads)
    gpu.step(there(cupy, grads))
    if case != "muon":
        assert cpu.fingerprint() == gpu.fingerprint()
    cpu.save(tmp_path / "here.npz")
    gpu.load(tmp_path / "here.npz")
    assert cpu.fingerprint() == gpu.fingerprint()
    gpu.load_state_dict(cpu.state_dict())
    gpu.reset()
    assert gpu.steps == 0


@pytest.mark.parametrize("rule", ["Adam", "Prodigy"])
def test_options_by_name_first_values_and_loading_in_part(rule, cupy, tmp_path):
    host = start()
    names = list(host)
    options = {
        "lr": {names[0]: 0.5, "*": 0.25} if rule == "Adam" else 0.5,
        "weight_decay": {names[1]: 0.1, names[3]: 0.1},
        "initial_state": {"v": {names[2]: np.full(host[names[2]].shape, 0.5)}, "m": 0.125},
    }
    cpu, gpu = (getattr(fo, rule)(x, **options) for x in (host, there(cupy, host)))
    assert len(cpu.groups) == len(gpu.groups) == (3 if rule == "Adam" else 2) and cpu.fingerprint() == gpu.fingerprint()
    for k in range(3):
        grads = start(seed=k + 20)
        if k == 1:
            grads[names[0]] = None
        cpu.step(grads)
        gpu.step({name: None if g is None else there(cupy, {name: g})[name] for name, g in grads.items()})
        assert cpu.fingerprint() == gpu.fingerprint()
    cpu.save(tmp_path / "a.npz")
    some = {f"new/{name}": a for name, a in start(seed=9).items() if name != names[1]}
    some["more"] = np.ones(3, np.float32)
    for params in (some, there(cupy, some)):
        other = getattr(fo, rule)(params)
        choices = {"missing": "reset", "unexpected": "ignore", "hyperparameters": "keep"}
        other.load(tmp_path / "a.npz", rename=lambda name: f"new/{name}", **choices)
        assert other.last_load.reset == ["more"] and other.last_load.ignored == [names[1]]
        assert other.state[f"new/{names[0]}"]["step"] == 2


def test_copies(cupy):
    on_device = there(cupy, start())
    gpu = fo.Prodigy(on_device, lr=1.0)
    gpu.step(there(cupy, start(seed=3)))
    for made in (pickle.loads(pickle.dumps(gpu)), copy.deepcopy(gpu)):
        assert type(made) is type(gpu) and made.fingerprint() == gpu.fingerprint()
        grads = there(cupy, start(seed=4))
        again = copy.deepcopy(gpu)
        again.step(grads)
        made.step(grads)
        assert made.fingerprint() == again.fingerprint() != gpu.fingerprint()
    assert "Prodigy" in repr(gpu)


def test_bound_gradients_that_are_cleared(cupy):
    host = start()
    on_device, grads = there(cupy, host), start(seed=5)
    given = there(cupy, grads)
    cpu, gpu = fo.Adam(host, zero_grads=True), fo.Adam(on_device, zero_grads=True)
    cpu.bind(grads)
    gpu.bind(given)
    assert cpu.step() and gpu.step()
    check_same(cpu, gpu, host, on_device)
    assert all((g.get() == 0).all() for g in given.values())
    transposed = cupy.array(np.ones((3, 4), np.float32))
    other = fo.SGD(cupy.array(np.zeros((4, 3), np.float32)), zero_grads=True, lr=1.0)
    other.bind(transposed.T)
    assert other.step() and (transposed.get() == 0).all() and (other.params.get() == -1).all()


def test_average_and_state(cupy):
    on_device = there(cupy, start())
    gpu = fo.SGD(on_device, lr=0.1, ema=0.5)
    before = on_device["matrix"].get()
    gpu.step(there(cupy, start(seed=9)))
    after = on_device["matrix"].get()
    np.testing.assert_array_equal(gpu.average["matrix"].get(), before + np.float32(0.5) * (after - before))
    free = fo.ScheduleFreeSGD(on_device, lr=0.1)
    free.step(there(cupy, start(seed=9)))
    assert free.average["matrix"].get().shape == (30, 41)


def test_one_launch_serves_a_list_and_nothing_waits(cupy):
    if cupy.ndarray is not standin.ndarray:
        pytest.skip("counted by the stand-in")
    params = [cupy.array(data(100, np.float32, k + 1)) for k in range(1000)]
    grads = [cupy.array(data(100, np.float32, k + 1)) for k in range(1000)]
    gpu = fo.Adam(params, lr=0.1, clip_global_norm=1.0, ema=0.9)
    gpu.step(grads)
    standin.launches.clear(), standin.synchronizations.clear(), standin.uploads.clear()
    gpu.step(grads)
    names = [name for name, _ in standin.launches]
    assert names == ["sum_gradients", "add_blocks", "adam_prepare", "prepare_stages", "adam_step"]
    assert names.count("adam_step") == 1 and standin.synchronizations == []
    assert max(standin.uploads) <= 1 << 16  # what the runtime takes without waiting


def test_another_stream_waits_for_the_steps_before():
    with standin.installed() as cupy:
        gpu = fo.SGD(cupy.array(np.ones(3, np.float32)))
        standin.waits.clear()
        g = cupy.array(np.ones(3, np.float32))
        gpu.step(g)
        assert standin.waits == []
        standin.streams.append(7)
        try:
            gpu.step(g)
            gpu.step(g)
        finally:
            standin.streams.pop()
        gpu.step(g)
        assert standin.waits == [(7, 0), (0, 7)]


@pytest.mark.parametrize("what", ["step", "rows", "state_dict", "reset", "report", "average"])
def test_all_work_on_another_stream_waits_before_anything_else(what):
    with standin.installed() as cupy:
        gpu = fo.SGD(cupy.array(np.ones((4, 3), np.float32)), momentum=0.9, ema=0.5)
        rows = fo.RowGradient([2], cupy.array(np.ones((1, 3), np.float32)))
        gpu.step(cupy.array(np.ones((4, 3), np.float32)))
        given = cupy.array(np.ones((4, 3), np.float32))
        does = {"step": lambda: gpu.step(given), "rows": lambda: gpu.step(rows), "average": lambda: gpu.average}
        standin.streams.append(7)
        standin.log.clear(), standin.waits.clear()
        try:
            does.get(what, lambda: getattr(gpu, what)())()
        finally:
            standin.streams.pop()
        assert standin.waits == [(7, 0)] and standin.log[0] == "wait"
        gpu.step(given)
        assert standin.waits == [(7, 0), (0, 7)]


def test_another_device_may_be_current():
    with standin.installed() as cupy:
        with cupy.cuda.Device(1):
            w, g = cupy.array(np.ones((4, 3), np.float32)), cupy.array(np.ones((4, 3), np.float32))
        gpu = fo.AdamW(w, ema=0.5, bounds=(-9, np.full((4, 3), 9.0)), state_dtype="float8")
        assert gpu.step(g)
        saved = gpu.state_dict()
        assert gpu.average.device.id == 1
        gpu.reset()
        gpu.load_state_dict(saved)
        with pytest.raises(TypeError, match="expected an array on device 1"):
            gpu.step(np.ones((4, 3), np.float32))
        gpu.bind(g)
        assert gpu.step() and standin.current == [0]
        again = copy.deepcopy(gpu)
        assert again.fingerprint() == gpu.fingerprint() and pickle.loads(pickle.dumps(saved))["state"]


@pytest.mark.filterwarnings("ignore:bounds of .* were outside")
def test_options_that_are_arrays_on_the_device(cupy):
    """They are what they were when they were given."""
    host = {"w": np.ones((4, 3), np.float32)}
    on_device, factor, high = there(cupy, host), np.linspace(0, 1, 12).reshape(4, 3), np.full((4, 3), 0.8)
    cpu = fo.SGD(host, lr=0.5, step_scale={"w": factor}, bounds=(-1.0, {"w": high}))
    given, most = cupy.array(factor), cupy.array(high)
    gpu = fo.SGD(on_device, lr=0.5, step_scale={"w": given}, bounds=(-1.0, {"w": most}))
    given[...], most[...] = 0, 0
    assert cpu.step({"w": np.ones((4, 3), np.float32)}) and gpu.step({"w": cupy.array(np.ones((4, 3), np.float32))})
    check_same(cpu, gpu, host, on_device)


def test_sums_that_decide_make_the_host_wait(cupy):
    p = cupy.array(np.ones(10, np.float32))
    gpu = fo.Adam(p, nonfinite="raise")
    bad = np.ones(10, np.float32)
    bad[3] = np.inf
    with pytest.raises(FloatingPointError, match=r"gradient of '0': 1 element is infinite or NaN, the first at \["):
        gpu.step(cupy.array(bad))
    assert (p.get() == 1).all() and gpu.steps == 0
    assert gpu.step(cupy.array(np.ones(10, np.float32)))


def test_errors_name_what_is_wrong(cupy):
    w = cupy.array(np.ones((2, 3), np.float32))
    with pytest.raises(TypeError, match="parameter 'b': ndarray, expected a CuPy array"):
        fo.Adam({"w": w, "b": np.ones(3, np.float32)})
    with pytest.raises(TypeError, match="parameter 'w': dtype int"):
        fo.Adam({"w": cupy.array(np.ones(3, np.int32))})
    with pytest.raises(ValueError, match="share memory"):
        fo.Adam({"w": w, "again": w[0]})
    with pytest.raises(ValueError, match="flush_subnormals: 'v' is of 64 bits, where CUDA never flushes; expected narrower"):
        fo.Adam({"w": w, "v": cupy.array(np.ones(3))}, flush_subnormals=True)
    with pytest.raises(ValueError, match="flush_subnormals: 'v' is of 64 bits"):
        fo.Adam({"v": cupy.array(np.ones(3, np.complex128))}, flush_subnormals=True)
    assert fo.Adam({"v": cupy.array(np.ones(3, np.complex64))}, flush_subnormals=True).steps == 0
    opt = fo.Adam({"w": w})
    before = opt.fingerprint()
    for g, error, text in [
        (np.ones((2, 3), np.float32), TypeError, "gradient of 'w': ndarray, expected an array on device 0"),
        (cupy.array(np.ones((3, 2), np.float32)), ValueError, r"gradient of 'w': shape \(3, 2\), expected \(2, 3\)"),
        (cupy.array(np.ones((2, 3), np.int64)), TypeError, "gradient of 'w': dtype int64"),
        (w, ValueError, "gradient of 'w': shares memory with parameter 'w'"),
        (
            fo.RowGradient([0], np.ones((1, 3), np.float32)),
            TypeError,
            "gradient of 'w': values of ndarray, expected an array on dev",
        ),
        (fo.RowGradient([2], cupy.array(np.ones((1, 3), np.float32))), ValueError, "gradient of 'w': row 2, expected rows below 2"),
    ]:
        with pytest.raises(error, match=text):
            opt.step({"w": g})
    with pytest.raises(ValueError, match="missing keys"):
        opt.step({})
    with pytest.raises(TypeError, match="expected a CuPy array to bind"):
        opt.bind({"w": np.ones((2, 3), np.float32)})
    assert opt.fingerprint() == before


def test_a_kernel_that_does_not_compile_leaves_everything_as_it_was(monkeypatch, tmp_path):
    if not shutil.which("g++"):
        pytest.skip("needs g++")
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path))
    text = compiler.source
    monkeypatch.setattr(tables, "source", lambda rule: text(rule) + ("nonsense" if rule == "adam" else ""))
    compiler.kernels.cache_clear()
    with standin.installed() as cupy:
        params = {"matrix": cupy.array(np.ones((4, 3), np.float32)), "vector": cupy.array(np.ones(3, np.float32))}
        opt = fo.Muon(params)
        before = opt.fingerprint()
        with pytest.raises(RuntimeError, match=r"NVRTC: (.|\n)*nonsense"):
            opt.step({name: cupy.array(np.ones(a.shape, np.float32)) for name, a in params.items()})
        assert opt.fingerprint() == before and opt.steps == 0
    compiler.kernels.cache_clear()


def test_arrays_of_two_devices_are_refused():
    with standin.installed() as cupy:
        w = cupy.array(np.ones(3, np.float32))
        with cupy.cuda.Device(1):
            b = cupy.array(np.ones(3, np.float32))
        with pytest.raises(ValueError, match="parameter 'b': on device 1, expected device 0"):
            fo.Adam({"w": w, "b": b})
        opt = fo.Adam(w)
        with pytest.raises(ValueError, match="gradient of '0': on device 1, expected device 0"):
            opt.step(b)
