"""What the documents for Python show is run: every block of code, and the script of every picture."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import tilefold
from conftest import PYTHON

ROOT = Path(__file__).parents[2]
DOCUMENTS = ROOT / "docs" / "python"
GALLERY = DOCUMENTS / "gallery"
# What the script prints about the result that the picture shows: pattern, least, largest.
SCRIPTS = {
    "digits": ("digits.png", r"([\d.]+)% of the images", 70, 85),
    "colours": ("colours.jpg", r"64 colours: root mean square error ([\d.]+)", 5, 7),
    "mnist": ("mnist.png", r"([\d.]+)% of the images", 80, 90),
}


@pytest.mark.parametrize("document", ["../../README.md", "README.md", "migration.md", "numbers.md"])
def test_code_of_the_documents_runs(document, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (DOCUMENTS / document).read_text(), re.DOTALL)
    monkeypatch.chdir(ROOT)
    before = tilefold.get_config()
    names = {"__name__": "__main__"}
    try:
        for block in blocks:
            exec(compile(block, document, "exec"), names)
    finally:
        tilefold.set_config(device=before["device"], fallback=before["fallback"])
    if document == "../../README.md":
        assert len(blocks) == 1 and len(capsys.readouterr().out.split()) >= 3
    elif document == "README.md":
        assert len(blocks) == 4 and "pairwise_distances(euclidean)" in capsys.readouterr().out


@pytest.mark.parametrize("script", SCRIPTS)
def test_pictures_are_made_by_their_scripts(script, tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    pytest.importorskip("PIL")
    picture, pattern, least, largest = SCRIPTS[script]
    if (
        script == "mnist"
        and not (Path(os.environ.get("TILEFOLD_DATA", "")) / "mnist-t10k-images-idx3-ubyte.gz").exists()
    ):
        pytest.skip("TILEFOLD_DATA has no MNIST")
    output = tmp_path / picture
    environment = {**os.environ, "MPLCONFIGDIR": str(matplotlib.get_configdir())}
    command = [*PYTHON, str(GALLERY / f"{script}.py"), "-o", str(output)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert result.returncode == 0, result.stderr
    assert least < float(re.search(pattern, result.stdout)[1]) < largest, result.stdout
    for path in (output, GALLERY / picture):
        assert 10_000 < path.stat().st_size < 150_000, path
    assert picture in (GALLERY / "README.md").read_text()
