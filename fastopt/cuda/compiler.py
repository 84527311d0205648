"""Compilation of the kernels' text by NVRTC, with the arithmetic of the CPU, once for each architecture."""

from __future__ import annotations

import functools
from typing import Any

from .._codegen import cuda
from .._codegen.package import formulas, inline_headers, select_rules
from .._engine import cache

# 177 warns of functions that no kernel calls.
OPTIONS = ("-fmad=false", "-prec-div=true", "-prec-sqrt=true", "-diag-suppress=177")
# RawModule always passes one of these.
FLUSH = {False: "-ftz=false", True: "-ftz=true"}


def source(rules: Any = None) -> str:
    """Return the CUDA text of the kernels with its headers included, for any CUDA compiler.

    Compiled without contraction and without flushing subnormals (``nvcc -fmad=false``), it computes the bits of the CPU.

    Parameters
    ----------
    rules : str, Rule, or sequence of them, optional
        Names of rules (``"adam"``) and users' rules. Default: all rules of the package.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If there is no such rule.
    TypeError
        If a rule is neither a name nor what `fastopt.rule` makes.
    """
    known, stages = formulas()
    return inline_headers(cuda.render(select_rules(rules, known), stages))


def architecture(supported: tuple[int, ...], capability: str) -> str:
    """Return the target to compile for: the device's architecture, one that its code runs on, or the newest intermediate."""
    own = int(capability)
    if binary := [x for x in supported if x <= own and x // 10 == own // 10]:
        return f"sm_{max(binary)}"
    if older := [x for x in supported if x <= own]:
        return f"compute_{max(older)}"
    raise RuntimeError(f"this NVRTC compiles for compute capabilities from {min(supported) / 10} on; the device has {own / 10}")


def compiled(text: str, target: str, flush: bool = False) -> bytes:
    """Return the machine code of a text, or for ``compute_`` targets the intermediate code that the driver compiles."""
    from cupy.cuda import nvrtc

    options = (f"--gpu-architecture={target}", FLUSH[flush], *OPTIONS)

    def make() -> bytes:
        program = nvrtc.createProgram(text, "fastopt.cu", [], [])
        try:
            nvrtc.compileProgram(program, options)
            code: bytes = nvrtc.getCUBIN(program) if target.startswith("sm_") else nvrtc.getPTX(program)
        except nvrtc.NVRTCError as error:
            raise RuntimeError(f"NVRTC: {error}\n{nvrtc.getProgramLog(program)}") from error
        finally:
            nvrtc.destroyProgram(program)
        return code

    return cache.cached(f"{cache.key(text, *options, str(nvrtc.getVersion()))}.cubin", make)


@functools.cache
def kernels(text: str, device: int, flush: bool = False) -> Any:
    """Return the module of a text's kernels, loaded on a device."""
    import cupy
    from cupy.cuda import function, nvrtc

    with cupy.cuda.Device(device) as here:
        module = function.Module()
        module.load(compiled(text, architecture(nvrtc.getSupportedArchs(), here.compute_capability), flush))
    return module
