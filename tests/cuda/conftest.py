"""Two worlds for each test: the stand-in, and a real device."""

import shutil

import pytest
import standin
from cuda_tools import device

from fastopt.cuda import compiler


@pytest.fixture(params=["shim", pytest.param("device", marks=pytest.mark.gpu)])
def cupy(request, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cuda"))
    compiler.kernels.cache_clear()
    if request.param == "device":
        yield device()
    elif not shutil.which("g++"):
        pytest.skip("needs g++")
    else:
        with standin.installed() as found:
            yield found
    compiler.kernels.cache_clear()
