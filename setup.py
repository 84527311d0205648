"""Builds the engine once and the kernels once per instruction set; pyproject.toml holds everything else."""

import os
import platform
import runpy
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PACKAGE = Path("fastopt")
ENGINE = PACKAGE / "_engine"
FLAGS = runpy.run_path(str(ENGINE / "flags.py"))
UNIX = FLAGS["UNIX"]
X86 = platform.machine().lower() in ("x86_64", "amd64") and sys.platform != "win32"
ISAS = {isa.replace("-", "_"): flags for isa, flags in FLAGS["ISAS"].items() if X86 or isa == "baseline"}
THREADED = ("_engine.passes", "_engine.lazy_rows", "embed.interface")
OPENMP = {"msvc": (["/openmp"], []), "unix": (["-fopenmp"], ["-fopenmp"])}
if sys.platform == "darwin":
    OPENMP["unix"] = (["-Xpreprocessor", "-fopenmp"], ["-lomp"])
PROBE = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"


def kept(name, text):
    """A file of the build folder, which is newer than it was only if its text is another."""
    path = Path("build", "isa", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return str(path)


class BuildExt(build_ext):
    """Adds the flags of the compiler at hand, and OpenMP to the engine where it links."""

    def build_extensions(self):
        unix = self.compiler.compiler_type == "unix"
        for extension in self.extensions:
            extension.extra_compile_args += UNIX if unix else []
            if extension.name.removeprefix("fastopt.") in THREADED:
                compiled, linked = self.openmp()
                extension.extra_compile_args += compiled
                extension.extra_link_args += linked
        super().build_extensions()

    def openmp(self):
        flags = OPENMP.get(self.compiler.compiler_type, OPENMP["unix"])
        probe = Path(self.build_temp, "openmp.c")
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_text(PROBE)
        try:
            if SERIAL:
                raise OSError("FASTOPT_NO_OPENMP is set")
            objects = self.compiler.compile([str(probe)], output_dir=str(probe.parent), extra_postargs=flags[0])
            self.compiler.link_executable(objects, str(probe.with_suffix("")), extra_postargs=flags[1])
        except Exception as error:
            print(f"fastopt: building without OpenMP ({error})", file=sys.stderr)
            return [], []
        return flags


INCLUDE = PACKAGE / "include"
HEADERS = [*map(str, PACKAGE.glob("*/*.pxd")), *map(str, PACKAGE.glob("*/generated/*.pxd")), *map(str, INCLUDE.glob("*.h"))]


def extension(name, source, flags=(), depends=()):
    return Extension(
        f"fastopt.{name}",
        [source],
        include_dirs=[str(INCLUDE), numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        extra_compile_args=list(flags),
        depends=[*HEADERS, *depends],
    )


SERIAL = os.environ.get("FASTOPT_NO_OPENMP", "")
TOLD = [kept("FASTOPT_NO_OPENMP", SERIAL)]
MODULES = [
    ENGINE / "stepper.py",
    *(x for room in ("_engine", "embed", "minimization") for x in sorted((PACKAGE / room).glob("*.pyx"))),
    PACKAGE / "linear" / "epochs.pyx",
]
EXTENSIONS = [extension(".".join(path.with_suffix("").parts[1:]), str(path), depends=TOLD) for path in MODULES]
# Copies under other names: three modules of one C file would register as one.
KERNELS = {"_engine.kernels": ENGINE / "generated" / "kernels.pyx", "linear.loops": PACKAGE / "linear" / "loops.pyx"}
for name, path in KERNELS.items():
    for isa, flags in ISAS.items():
        copy = kept(f"{name.rpartition('.')[2]}_{isa}.pyx", path.read_text())
        EXTENSIONS += [extension(f"{name}_{isa}", copy, flags)]
COMPILED = cythonize(EXTENSIONS, build_dir="build/c", include_path=["."])
for module in COMPILED:
    module.optional = True  # without a compiler, or with an old one, fastopt does without what was not built
setup(ext_modules=COMPILED, cmdclass={"build_ext": BuildExt}, options={"build_ext": {"parallel": os.cpu_count()}})
