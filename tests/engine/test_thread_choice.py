"""How many threads a step uses: settings, quotas, measurements, forks."""

import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_neither_hangs_nor_crashes():
    code = """
import os, numpy as np, fastopt as fo
p, g = np.zeros(500_000, np.float32), np.ones(500_000, np.float32)
o = fo.SGD(p, lr=1.0, threads=2)
o.step(g)
child = os.fork()
if child == 0:
    o.step(g)
    os._exit(0 if (p == -2).all() else 1)
assert os.waitpid(child, 0)[1] == 0
o.step(g)
assert (p == -2).all()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.compiled
def test_one_thread_starts_no_pool():
    code = """
import os, numpy as np, fastopt as fo
n = len(os.listdir("/proc/self/task"))
for threads in (1, None):
    size = 500_000 if threads else 8_000
    o = fo.SGD(np.zeros(size), threads=threads)
    o.bind(np.ones(size))
    for _ in range(100): o.step()
assert len(os.listdir("/proc/self/task")) == n
"""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("counts threads in /proc")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.compiled
def test_threadpoolctl_and_environment():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    from fastopt._engine import passes

    if not passes.openmp():
        pytest.skip("built without OpenMP")
    with threadpoolctl.threadpool_limits(1):
        assert passes.threads() == 1
    code = "from fastopt._engine import passes; print(passes.threads())"
    out = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "3"}, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "3"


@pytest.mark.parametrize(
    ("process", "files", "expected"),
    [
        ("0::/a/b\n", {}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "250000 100000"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000"}, 1),
        ("0::/\n", {"cpu.max": "300000 100000"}, 3),
        ("4:cpu:/c\n", {"cpu/c/cpu.cfs_quota_us": "-1", "cpu/c/cpu.cfs_period_us": "100000"}, None),
        ("4:cpu,cpuacct:/c\n", {"cpu/c/cpu.cfs_quota_us": "400000", "cpu/c/cpu.cfs_period_us": "100000"}, 4),
    ],
)
def test_container_quotas(process, files, expected, tmp_path):
    from fastopt._engine.threads import quota

    (tmp_path / "cgroup").write_text(process)
    for name, text in files.items():
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert quota(tmp_path / "cgroup", tmp_path / "sys") == expected
    assert quota(tmp_path / "nothing", tmp_path / "sys") is None


@pytest.mark.compiled
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="sets the affinity")
def test_affinity():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from fastopt._engine import passes; print(passes.threads())"
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout.strip() == "1"


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("serial", "parallel", "other", "steps", "most"),
    [
        (550e-6, 230e-6, False, 1000, 1.1 * 230e-6),  # pays
        (550e-6, lambda k: 1000e-6 if k < 10 else 230e-6, False, 1000, 1.1 * 230e-6),  # once the threads are awake
        (550e-6, lambda k: 9e-3 if k % 200 == 100 else 230e-6, False, 1000, 1.15 * (230e-6 + 9e-3 / 200)),  # interrupted
        (550e-6, 600e-6, False, 2000, 1.1 * 550e-6),  # never pays
        (550e-6, 5e-3, False, 2000, 1.2 * 550e-6),
        (25e-6, 6.7e-3, True, 20_000, 1.5 * 25e-6),  # after a matrix product
        (25e-6, 6.7e-3, True, 200, 1.0001 * 25e-6),
        (600e-6, 5e-3, True, 2000, 1.1 * 600e-6),
        (9e-3, 14e-3, True, 200, 1.2 * 9e-3),
        (lambda k: 30e-3 if k < 6 else 9e-3, 14e-3, True, 400, 1.2 * 9e-3),  # whose first steps were slow
        (9e-3, 5e-3, True, 200, 1.2 * 5e-3),  # another caller, whose processors are free
    ],
)
def test_threads_are_chosen_by_the_clock(serial, parallel, other, steps, most):
    from fastopt._engine import passes

    took = [x if callable(x) else lambda k, x=x: x for x in (serial, parallel)]
    _, total = passes.simulate(*took, steps, other)
    assert total <= most * steps


@pytest.mark.compiled
@pytest.mark.parametrize("serial", [60e-6, 300e-6, 5e-3])
def test_another_process_comes_and_goes(serial):
    """While it holds a processor little is lost, and soon after that steps are parallel again."""
    from fastopt._engine import passes

    now, turn = 0.0, 18e-3
    durations = []

    def elapsed(seconds):
        nonlocal now
        now += seconds
        durations.append((now, seconds))
        return seconds

    def parallel(_):
        # Of two processes on a processor each has turns: every other one of ours waits for it.
        held = 1 < now < 6 and now % (2 * turn) < turn
        return elapsed(serial / 2 + turn if held else serial / 2)

    passes.simulate(lambda _: elapsed(serial), parallel, int(14 / serial), False)
    held = [seconds for at, seconds in durations if 1.5 < at < 6]
    after = [seconds for at, seconds in durations if 6.3 < at < 7.3]
    assert np.mean(held) < 1.15 * serial and np.mean(after) < 0.6 * serial


@pytest.mark.compiled
def test_many_threads_by_a_model():
    path = Path(__file__).parents[2] / "asv_bench" / "thread_model.py"
    model = runpy.run_path(str(path))
    for name, elements, threads in model["cases"]():
        ratio, _ = model["replay"](elements, threads, model["HELD"][name])
        # One turn in 50 short steps of many threads is more than is worth waiting for.
        assert ratio < (2.4 if name == "held every 50th step" else 1.2), (name, elements, threads)


@pytest.mark.compiled
@pytest.mark.parametrize("stall", [0.05, 1.0, 600.0])
def test_a_stall_does_not_matter_for_long(stall):
    """A process that was stopped, or swapped out, in a parallel step."""
    from fastopt._engine import passes

    chosen, _ = passes.simulate(lambda _: 1e-3, lambda k: stall if k == 150 else 0.5e-3, 2000, False)
    assert chosen[150] and sum(chosen[151:]) > 1600


@pytest.mark.compiled
def test_first_short_steps_wake_no_thread():
    from fastopt._engine import passes

    short, _ = passes.simulate(lambda k: 30e-6, lambda k: 15e-6, 2000, False)
    long, _ = passes.simulate(lambda k: 300e-6, lambda k: 150e-6, 20, False)
    assert not any(short[:200]) and all(short[-100:]) and long[1:] == [True] * 19


@pytest.mark.compiled
@pytest.mark.skipif(not os.path.exists("/proc/loadavg"), reason="the system does not say")
def test_processes_that_hold_all_processors_are_seen():
    from fastopt._engine import passes

    assert not passes.busy(-1000)
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(os.cpu_count())]
    try:
        end = time.monotonic() + 20
        while not passes.busy(2) and time.monotonic() < end:
            time.sleep(0.01)
        assert passes.busy(2)
    finally:
        for other in others:
            other.kill()
            other.wait()


@pytest.mark.compiled
def test_threads_that_spin_on_a_shared_core_do_not_pay():
    """Serial steps are slow, too, while a worker still spins, so that they say nothing of what they would take without."""
    from fastopt._engine import passes

    spun = 0.0

    def serial(k):
        nonlocal spun
        spun = max(0.0, spun - 80e-6)
        return 300e-6 if k == 0 else 80e-6 if spun else 50e-6  # the first is cold

    def parallel(_):
        nonlocal spun
        spun = 3e-3
        return 80e-6

    chosen, total = passes.simulate(serial, parallel, 20_000, False)
    assert total <= 1.1 * 50e-6 * 20_000 and np.mean(chosen[10_000:]) < 0.1


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("elements", "threads", "started"), [(70_000, 8, 1), (300_000, 3, 2), (10_000, 8, 1), (8_000, 8, 0), (300_000, 1, 0)]
)
def test_at_most_a_thread_for_each_grain_of_work(elements, threads, started):
    code = """
import os, sys, numpy as np, fastopt as fo
elements, threads = map(int, sys.argv[1:])
n = len(os.listdir("/proc/self/task"))
fo.SGD([np.zeros(elements // 2), np.zeros(elements - elements // 2)], threads=threads).step([np.ones(elements // 2)] * 2)
print(len(os.listdir("/proc/self/task")) - n)
"""
    from fastopt._engine import passes

    if not os.path.isdir("/proc/self/task") or not passes.openmp():
        pytest.skip("counts OpenMP's threads in /proc")
    command = [sys.executable, "-c", code, str(elements), str(threads)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(out.stdout) == started


def test_the_systems_limit(monkeypatch):
    from fastopt._engine import threads

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "quota", lambda: 1)
    assert threads.limit() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert threads.limit() == 0
