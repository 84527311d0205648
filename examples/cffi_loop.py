"""Fit a line by Adam through cffi, which reads ``fastopt.h``: ``pip install cffi``, ``python cffi_loop.py``."""

import cffi
import numpy as np

import fastopt as fo

ffi = cffi.FFI()
ffi.cdef(fo.embed.declarations())
fastopt = ffi.cast("fastopt_interface *", fo.embed.addresses()["fastopt_interface"])
FLOAT64 = fo.embed.FORMATS.index("float64")

x = np.linspace(0, 1, 100)
y = 2 * x + 1 + 0.1 * np.random.default_rng(0).standard_normal(100)
w, g, m, v = (np.zeros(2) for _ in range(4))
hyperparameters = ffi.new("double[]", [0.1, 0.9, 0.999, 1e-8, 0, 0])

update = ffi.new("fastopt_update *")
update.size, update.rule, update.n = ffi.sizeof("fastopt_update"), fastopt.find_rule(b"adam"), w.size
update.param_format = update.grad_format = update.state_format = FLOAT64
update.param_in = update.param_out = ffi.from_buffer(w)
update.grad, update.hyperparameters = ffi.from_buffer(g), hyperparameters
update.state[0], update.state[1] = ffi.from_buffer(m), ffi.from_buffer(v)

for t in range(1, 501):
    error = w[0] * x + w[1] - y
    g[:] = 2 * (error * x).mean(), 2 * error.mean()
    update.t = t
    if fastopt.apply(update, 1, 1):
        raise ValueError(ffi.string(fastopt.message()).decode())
print(f"weight {w[0]:.6f} bias {w[1]:.6f}; least squares: {np.polyfit(x, y, 1).round(6)}")
