"""The package itself: import, errors, devices, settings, the command."""

import json
import os
import subprocess
import sys

import pytest
import tilefold
from tilefold import _core, _devices


def run(code, **options):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **options)


def test_importing_is_silent_opens_nothing_and_needs_numpy_alone():
    result = run("import sys, tilefold; print(sorted({'sklearn', 'pandas', 'scipy'} & set(sys.modules)))")
    assert (result.returncode, result.stderr, result.stdout) == (0, "", "[]\n")


@pytest.mark.parametrize("on_worker", [False, True])
def test_a_panic_is_an_exception_that_says_where_and_leaves_stderr_alone(on_worker):
    code = f"""
from tilefold import InternalError, _core
try:
    _core._panic_for_test({on_worker})
except RuntimeError as error:
    print(type(error) is InternalError, error)
"""
    environment = {name: value for name, value in os.environ.items() if name != "RUST_BACKTRACE"}
    result = run(code, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("True a planted panic")
    assert "src/lib.rs" in result.stdout and "please report" in result.stdout


def test_devices_are_selected_by_text():
    assert _core.device_name("cpu:3") == "cpu (3 threads)"
    assert _core.device_name(" Reference ") == "reference"
    for selector in ("no such card", "cpu:0", "cpu:many", ""):
        with pytest.raises((tilefold.DeviceNotFoundError, ValueError), match="cpu|threads|adapter"):
            _core.device_name(selector)


def test_threads_are_settable():
    before = _core.threads()
    try:
        tilefold.set_config(threads=3)
        assert _core.device_name("cpu") == "cpu (3 threads)" and tilefold.get_config()["threads"] == 3
    finally:
        tilefold.set_config(threads=before)
    with pytest.raises(ValueError, match="threads: expected 1 to 4096, got 0"):
        tilefold.set_config(threads=0)
    result = run("import tilefold; print(tilefold.get_config()['threads'])", env={"OMP_NUM_THREADS": "5"})
    assert result.stdout == "5\n", result.stderr


def test_settings_nest_and_come_back():
    before = tilefold.get_config()
    with tilefold.config_context(device="reference"):
        with tilefold.config_context(fallback="raise"):
            assert tilefold.get_config() == {**before, "device": "reference", "fallback": "raise"}
        assert tilefold.get_config()["fallback"] == before["fallback"]
    assert tilefold.get_config() == before
    with pytest.raises(ValueError, match="fallback: expected 'warn', 'silent' or 'raise', got 'never'"):
        tilefold.set_config(fallback="never")
    with pytest.raises(ValueError, match="device: expected a selector"):
        tilefold.set_config(device=3)
    code = "import tilefold; print(tilefold.get_config()['device'])"
    assert run(code, env={"TILEFOLD_DEVICE": "vulkan:1"}).stdout == "vulkan:1\n"


def test_a_device_that_fails_is_replaced_as_the_settings_say():
    def work(selector):
        if selector != "cpu":
            raise tilefold.DeviceError("lost")
        return selector

    with tilefold.config_context(device="gpu", fallback="warn"):
        with pytest.warns(tilefold.FallbackWarning, match="lost; the CPU takes over"):
            assert _devices.run_on(None, work) == ("cpu", "lost")
    with tilefold.config_context(fallback="silent"):
        assert _devices.run_on("gpu", work) == ("cpu", "lost")
        assert _devices.run_on("cpu", work) == ("cpu", None)
    with tilefold.config_context(fallback="raise"), pytest.raises(tilefold.DeviceError):
        _devices.run_on("gpu", work)
    with pytest.raises(tilefold.DeviceNotFoundError, match="no such card"):
        _devices.run_on("no such card", lambda selector: _core.device_name(selector))


def test_a_forked_child_opens_its_own_device():
    code = """
import os
from tilefold import _core
before = _core.device_name("cpu")
child = os.fork()
if child == 0:
    os._exit(0 if _core.device_name("cpu") == before else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    assert run(code).returncode == 0


def test_the_command_is_inside():
    module = [sys.executable, "-m", "tilefold"]
    result = subprocess.run([*module, "devices", "--json"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and json.loads(result.stdout)["cpu"].startswith("cpu ("), result.stderr
    result = subprocess.run([*module, "kmeans"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2 and "see tilefold --help" in result.stderr
    result = subprocess.run([*module, "doctor"], capture_output=True, text=True, timeout=60)
    assert "auto takes" in result.stdout and tilefold.__version__ in result.stdout, result.stderr
