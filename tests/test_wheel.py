"""The release: a wheel and an archive of the sources hold the library and its licence and nothing of the book, and the
library works from the wheel alone, where the repository is not."""
import os, shutil, subprocess, sys
from pathlib import Path
from zipfile import ZipFile

import pytest

import mnist_from_scratch
from tools.constraints import ROOT

MODULES = sorted(o.stem for o in (ROOT/"mnist_from_scratch").glob("*.py"))
COMMANDS = "mnist-ladder", "mnist-train", "mnist-predict", "mnist-bench"


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    "The folder with the wheel and the archive, built from a copy."
    tmp = tmp_path_factory.mktemp("build")/"book"
    shutil.copytree(ROOT, tmp, ignore=shutil.ignore_patterns(".*", "__pycache__", "_proc", "_docs", "build", "dist", "*.egg-info", "reference"))
    res = subprocess.run([sys.executable, "-m", "build", "--no-isolation", "."], cwd=tmp, capture_output=True, text=True)
    assert res.returncode == 0, res.stdout + res.stderr
    return tmp/"dist"


def test_what_the_wheel_holds(dist):
    wheel, = dist.glob("*.whl")
    held = ZipFile(wheel).namelist()
    assert f"-{mnist_from_scratch.__version__}-" in wheel.name
    assert sorted(o for o in held if ".dist-info/" not in o) == sorted([*(f"mnist_from_scratch/{o}.py" for o in MODULES), "mnist_from_scratch/py.typed"])
    assert any(o.endswith("/licenses/LICENSE") for o in held)


def test_what_the_wheel_says(dist):
    wheel, = dist.glob("*.whl")
    name, = [o for o in ZipFile(wheel).namelist() if o.endswith("METADATA")]
    text = ZipFile(wheel).read(name).decode()
    assert "Requires-Dist: torch>=" in text and "Provides-Extra: book" in text and "# mnist_from_scratch" in text
    assert "](nbs/" not in text and 'src="nbs/' not in text


def test_what_the_archive_holds(dist, tmp_path):
    archive, = dist.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path, **({"filter": "data"} if sys.version_info >= (3, 12) else {}))
    top, = tmp_path.iterdir()
    assert {o.name for o in top.iterdir()} == {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "settings.ini", "setup.cfg",
                                               "setup.py", "mnist_from_scratch", "mnist_from_scratch.egg-info"}
    assert {o.name for o in (top/"mnist_from_scratch").iterdir()} == {*(f"{o}.py" for o in MODULES), "py.typed"}


def test_the_library_works_from_the_wheel_alone(dist, tmp_path):
    "The packages that it needs are borrowed from the environment that this runs in."
    wheel, = dist.glob("*.whl")
    alone = tmp_path/"alone"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", alone], check=True)
    bin = alone/("Scripts" if os.name == "nt" else "bin")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    def run(*args): return subprocess.run([*map(str, args)], cwd=alone, env=env, check=True, capture_output=True, text=True).stdout
    libs = Path(run(bin/"python", "-c", 'import sysconfig; print(sysconfig.get_path("purelib"))').strip())
    (libs/"borrowed.pth").write_text("\n".join(o for o in sys.path if o.endswith("site-packages")))
    run(sys.executable, "-m", "pip", "--python", bin/"python", "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", wheel)
    imports = [f"import mnist_from_scratch.{o}" for o in MODULES if o != "__init__"]
    assert Path(run(bin/"python", "-c", "; ".join([*imports, "print(mnist_from_scratch.__file__)"])).strip()).is_relative_to(alone.resolve())
    for command in COMMANDS: assert run(bin/command, "--help")
