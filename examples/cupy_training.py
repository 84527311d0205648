"""Train parameters on a CUDA device, and resume on the CPU.

``pip install 'fastopt[cuda]'``, ``python cupy_training.py``.
"""

import cupy
import numpy as np

import fastopt as fo

rng = np.random.default_rng(0)
target = {"w": rng.standard_normal((300, 200)).astype(np.float32), "b": rng.standard_normal(200).astype(np.float32)}
there = {name: cupy.asarray(a) for name, a in target.items()}

params = {name: cupy.asarray(np.zeros_like(a)) for name, a in target.items()}
opt = fo.AdamW(params, lr=0.05, clip_global_norm=10.0)
for _ in range(100):
    # Gradients of half the squared distance.
    opt.step({name: params[name] - there[name] for name in params})
opt.save("training.npz")

on_cpu = {name: np.zeros_like(a) for name, a in target.items()}
resumed = fo.AdamW(on_cpu, lr=0.05, clip_global_norm=10.0)
resumed.load("training.npz")
assert resumed.fingerprint() == opt.fingerprint()
for _ in range(100):
    resumed.step({name: on_cpu[name] - target[name] for name in on_cpu})
distance = max(float(np.abs(on_cpu[name] - target[name]).max()) for name in on_cpu)
print(f"{opt.steps} steps on the device, {resumed.steps - opt.steps} on the CPU: at most {distance:.1e} from the target")
