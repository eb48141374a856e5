"""The wheel: what it carries, and that it runs from anywhere without the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack a wheel of this source, which is all that installing a pure one does."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(REPOSITORY)], check=True, capture_output=True)
    (wheel,) = folder.glob("tda-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
def test_it_carries_the_whole_configuration_and_the_reported_numbers(installed: Path) -> None:
    for folder, packaged in (("conf", "conf"), ("results/reported", "reported")):
        there = {path.relative_to(REPOSITORY / folder) for path in (REPOSITORY / folder).rglob("*") if path.is_file()}
        carried = {
            path.relative_to(installed / "tda" / packaged)
            for path in (installed / "tda" / packaged).rglob("*")
            if path.is_file()
        }
        assert there == carried


@pytest.mark.slow
def test_it_runs_from_another_folder(installed: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment).stdout

    where = python("-c", "from tda.resources import folder; print(folder('conf')); import tda.reported as r; r.load()")
    assert where.strip() == str(installed / "tda" / "conf")
    assert "1-NN" in python("-m", "tda", "run", "task=P-O")
    assert (tmp_path / "results" / "tables" / "digits.csv").is_file()
