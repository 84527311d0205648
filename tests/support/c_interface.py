"""Steps through the C interface, by ctypes."""

import ctypes
import subprocess

import numpy as np

from fastopt import embed

C_FLAGS = ["-std=c99", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
FUNCTIONS = ("find_rule", "find_stage", "rule_at", "stage_at", "apply", "apply_part", "message")


class Library:
    """The functions of fastopt.h, from wherever they come."""

    def __init__(self, addresses):
        p, i32, i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64

        def function(name, result, *arguments):
            return ctypes.CFUNCTYPE(result, *arguments)(addresses[f"fastopt_{name}"])

        self.find_rule, self.find_stage = function("find_rule", p, ctypes.c_char_p), function("find_stage", p, ctypes.c_char_p)
        self.rule_at, self.stage_at = function("rule_at", p, i32), function("stage_at", p, i32)
        self.apply, self.apply_part = function("apply", i32, p, i64, i32), function("apply_part", i32, p, i64, i32, i32)
        self.message = function("message", ctypes.c_char_p)


def compiled(text, folder, *flags):
    """Return the functions of a C file, compiled in a folder."""
    (folder / "fastopt.c").write_text(text)
    subprocess.run(
        ["cc", *C_FLAGS, *flags, "-shared", "-fPIC", folder / "fastopt.c", "-o", folder / "fastopt.so", "-lm"], check=True
    )
    library = ctypes.CDLL(str(folder / "fastopt.so"))
    return Library({f"fastopt_{n}": ctypes.cast(getattr(library, f"fastopt_{n}"), ctypes.c_void_p).value for n in FUNCTIONS})


class Steps:
    """The updates of an optimizer's parameters, described for C."""

    def __init__(self, library, optimizer, grads):
        parameters, (group,) = optimizer._parameters, optimizer.groups
        self.library, self.optimizer, self.parameters = library, optimizer, parameters
        self.u = embed.updates(len(parameters))
        values, settings = group.current_values(1.0), optimizer._settings
        self.keep = []
        position = 0
        for u, parameter, g in zip(self.u, parameters, grads, strict=True):
            n = parameter.array.size * (2 if parameter.array.dtype.kind == "c" else 1)
            u["rule"], u["n"], u["t"] = library.find_rule(parameter.rule.name.encode()), n, optimizer.steps + 1
            u["param_format"], u["grad_format"] = self.format(parameter.array), self.format(g)
            states = [a for k, a in parameter.rule_state.items() if parameter.rule.tags.get(k) != "start"] or [parameter.array]
            u["state_format"] = self.format(states[0]) if parameter.rule_state else u["param_format"]
            u["nearest"], u["seed"], u["position"] = settings.rounding == "nearest", settings.seed, position
            u["param_in"] = u["param_out"] = parameter.array.ctypes.data
            u["grad"] = g.ctypes.data
            u["state"][: len(parameter.rule_state)] = [a.ctypes.data for a in parameter.rule_state.values()]
            for k, name in enumerate(parameter.rule_state):
                if name in parameter.exponents:
                    u["exponents"][k] = parameter.exponents[name].ctypes.data
            if parameter.master is not None:
                u["master" if parameter.master.dtype == np.float32 else "low_bits"] = parameter.master.ctypes.data
            u["hyperparameters"] = self.doubles([values[h] for h in parameter.rule.hyperparameters])
            self.keep.append(carry := np.zeros(max(1, len(parameter.rule.carry))))
            u["carry_in"] = carry.ctypes.data if optimizer.steps else 0
            u["carry_out"] = carry.ctypes.data
            used = [s for s in group.stages if s.name not in ("hold", "gather", "norms", "finite") or settings.nonfinite == "zero"]
            uses = np.zeros(len(used), embed.STAGE_ARGS)
            uses["size"] = embed.STAGE_ARGS.itemsize
            for use, stage in zip(uses, used, strict=True):
                use["stage"] = library.find_stage(stage.name.encode())
                use["hyperparameters"] = self.doubles([values[h] for h in stage.hyperparameters])
                use["arrays"][: len(stage.stage_arrays)] = [self.stage_array(parameter, name) for name in stage.stage_arrays]
            self.keep.append(uses)
            u["stages"], u["n_stages"] = uses.ctypes.data, len(used)
            position += n

    @staticmethod
    def format(a):
        name = {"uint16": "bfloat16", "uint8": "float8", "complex64": "float32", "complex128": "float64"}.get(
            a.dtype.name, a.dtype.name
        )
        return embed.FORMATS.index(name)

    def doubles(self, values):
        self.keep.append(np.array([*values, 0.0]))
        return self.keep[-1].ctypes.data

    def stage_array(self, parameter, name):
        a = parameter.stage_arrays[name]
        if name in parameter.scalar_arrays:
            self.keep.append(a := np.full(max(1, parameter.array.size), a[0], a.dtype))
        return a.ctypes.data

    def step(self, threads=1, t=1):
        self.u["t"] = t
        if t > 1:
            self.u["carry_in"] = self.u["carry_out"]
        assert self.library.apply(self.u.ctypes.data, len(self.u), threads) == 0, self.library.message()

    def step_in_parts(self, parts, t=1):
        """Make a step in parts, as callers with their own threads do, the last part first."""
        self.u["t"] = t
        after = [np.zeros(6) for _ in self.u]
        if t > 1:
            self.u["carry_in"] = self.u["carry_out"]
        self.u["carry_out"] = [a.ctypes.data for a in after]
        self.keep.append(after)
        for part in reversed(range(parts)):
            assert self.library.apply_part(self.u.ctypes.data, len(self.u), part, parts) == 0, self.library.message()
