"""The stubs say what the package is."""

import subprocess
import sys
from pathlib import Path

import pytest
import tilefold

FOLDERS = ["accel", "cluster", "lora", "metrics", "neighbors"]
PUBLIC = ["__init__.pyi", "_core.pyi", *(f"{folder}/__init__.pyi" for folder in FOLDERS)]


def test_stubs_agree_with_the_package(tmp_path):
    pytest.importorskip("mypy")
    package = Path(tilefold.__file__).parent
    assert all((package / stub).exists() for stub in PUBLIC) and (package / "py.typed").exists()
    # Private modules are their own description; scikit-learn and SciPy have none.
    (tmp_path / "mypy.ini").write_text("[mypy]\nignore_missing_imports = True\ndisable_error_code = var-annotated\n")
    command = [sys.executable, "-m", "mypy.stubtest", "tilefold", "--mypy-config-file", "mypy.ini"]
    # Importing the first runs the command; scikit-learn makes the others at run time, and the public stub has them.
    made = r"tilefold\.cluster\._kmeans\.KMeans\.set_(fit|score)_request"
    (tmp_path / "allowed").write_text(f"tilefold\\.__main__\n{made}\n")
    command += ["--allowlist", "allowed"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert result.returncode == 0 and "Success: no issues found" in result.stdout, result.stdout + result.stderr
