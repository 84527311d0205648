"""From the text of the kernels to functions of a device: by NVRTC, with the arithmetic of the CPU, once for each architecture."""

from __future__ import annotations

import functools
from typing import Any

from .._codegen import cuda
from .._codegen.package import chosen, formulas, pasted
from .._engine import cache

OPTIONS = ("-fmad=false", "-prec-div=true", "-prec-sqrt=true", "-diag-suppress=177")  # 177: functions that no kernel here calls
FLUSH = {False: "-ftz=false", True: "-ftz=true"}  # which RawModule always has


def source(rules: Any = None) -> str:
    """Return the CUDA text of the kernels, headers pasted in, as any CUDA compiler takes it.

    Compile it without contraction and without flushing subnormals (``nvcc -fmad=false``), and it computes the bits of the CPU.

    Parameters
    ----------
    rules : str, Rule, or sequence of them, optional
        Names of rules (``"adam"``), and rules of one's own; all of the package without.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        For a rule that there is not.
    """
    known, stages = formulas()
    return pasted(cuda.render(chosen(rules, known), stages))


def architecture(supported: tuple[int, ...], capability: str) -> str:
    """Return what to compile for: the device's own architecture, one that its code runs on, or the newest as an intermediate."""
    own = int(capability)
    if binary := [x for x in supported if x <= own and x // 10 == own // 10]:
        return f"sm_{max(binary)}"
    if older := [x for x in supported if x <= own]:
        return f"compute_{max(older)}"
    raise RuntimeError(f"this NVRTC compiles for compute capabilities from {min(supported) / 10} on; the device has {own / 10}")


def compiled(text: str, target: str, flush: bool = False) -> bytes:
    """Machine code of a text, or for ``compute_`` targets the intermediate that the driver compiles; maybe one that flushes."""
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
    """Return the module of a text's kernels, loaded on a device; it may take subnormal floats for zeros."""
    import cupy
    from cupy.cuda import function, nvrtc

    with cupy.cuda.Device(device) as here:
        module = function.Module()
        module.load(compiled(text, architecture(nvrtc.getSupportedArchs(), here.compute_capability), flush))
    return module
