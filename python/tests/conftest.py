"""What all tests share: the devices that each of them runs on."""

import os
import shlex
import sys

import pytest
import tilefold

PYTHON = [*shlex.split(os.environ.get("TILEFOLD_RUNNER", "")), sys.executable]
"""How a process that may use the GPU is started: software Vulkan brings its own loader of programs."""


@pytest.fixture(params=["cpu", "gpu"])
def device(request):
    """The CPU, and the machine's GPU: TILEFOLD_GPU names it. Without any the test is skipped, or fails where
    TILEFOLD_REQUIRE_GPU=1 says that there has to be one."""
    if request.param == "cpu":
        return "cpu"
    if os.environ.get("TILEFOLD_WITHOUT_GPU") == "1":
        pytest.skip("TILEFOLD_WITHOUT_GPU=1")
    if not tilefold.adapters():
        assert os.environ.get("TILEFOLD_REQUIRE_GPU") != "1", "a GPU is required, and there is no adapter"
        pytest.skip("no GPU adapter")
    return os.environ.get("TILEFOLD_GPU", "gpu")
