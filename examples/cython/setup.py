"""``python setup.py build_ext --inplace``, with Cython and setuptools installed; then ``from smoothing import smoothed``."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

import fastopt

module = Extension("smoothing", ["smoothing.pyx"], include_dirs=[fastopt.get_include()])
where = [str(Path(fastopt.__file__).parents[1])]  # Cython finds it by itself, but not where it is installed to be edited
setup(name="smoothing", ext_modules=cythonize([module], include_path=where))
