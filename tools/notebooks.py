"""Runs notebooks in Jupyter kernels, and the tests in tests/: one runner for make, .ci/run and the workflows.

    python -m tools.notebooks test [notebooks and tests]     run them; default: all
    python -m tools.notebooks store [notebooks] [--quick]    run all cells and store what they show
    python -m tools.notebooks check [notebooks]              run, and compare what they show with what is stored

`--flags slow,cuda` runs cells with these flags too. What measures no time runs side by side, on one thread each. The
last line is "N passed, N failed": a notebook counts as one, a file of tests as its tests.
"""
import argparse, os, re, subprocess, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import nbformat
from nbclient import NotebookClient
from nbdev.clean import nbdev_clean
from nbdev.config import get_config
from nbdev.test import nb_test_cells
from traitlets.config import Config

from tools.outputs import about_this_run, compare_notebooks, seal, seal_fault

ROOT = Path(__file__).resolve().parent.parent
MEASURES = re.compile(r"\bmedians\(|\bperf_counter\b")


def cells_to_run(
    path: Path,
    flags: str = "",  # cells with these flags run too, as in "slow,cuda"
) -> list:
    "The code cells that a test of the notebook runs."
    return nb_test_cells(path, get_config(ROOT).tst_flags.split(), re.split("[ ,]+", flags))


def run_notebook(
    path: Path,
    flags: str = "",  # as for `cells_to_run`
):  # the notebook with its new outputs, as nbformat reads it; cells that do not run keep what is stored
    "Run a notebook in a Jupyter kernel, in its folder; nbclient's `CellExecutionError` if a cell fails."
    nb = nbformat.read(path, as_version=4)
    runs = {o.id for o in cells_to_run(path, flags)}
    class Client(NotebookClient):
        async def async_execute_cell(self, cell, *args, **kwargs):
            return await super().async_execute_cell(cell, *args, **kwargs) if cell.id in runs else cell
    config = Config(KernelManager=dict(transport_encryption="auto"))    # without, the kernel warns
    args = ["--InlineBackend.figure_format=retina"]    # pictures of twice the size, as nbdev makes them
    resources = {"metadata": {"path": str(path.parent)}}
    Client(nb, timeout=1800, kernel_name="python3", resources=resources, config=config, extra_arguments=args).execute()
    for cell in nb.cells:
        if cell.cell_type == "code": cell.outputs = joined(cell.outputs)
    return nb


def joined(outputs: list) -> list:
    "The outputs, with printed lines that follow each other in one piece; a kernel sends them as it finds the time."
    res = []
    for o in outputs:
        if res and o.output_type == res[-1].output_type == "stream" and o.name == res[-1].name: res[-1].text += o.text
        else: res.append(o)
    return res


def write_clean(nb, path: Path):
    "Write a notebook as nbdev-clean leaves it."
    nbformat.write(nb, path)
    nbdev_clean(str(path))


# --- what is done with a notebook; each gives what went wrong, as text ---
def test(path: Path, flags: str, data: str) -> str:
    run_notebook(path, flags)
    return ""


def store(path: Path, flags: str, data: str) -> str:
    "All outputs are of this run: a cell that did not run shows none."
    nb, runs = run_notebook(path, flags), {o.id for o in cells_to_run(path, flags)}
    for cell in nb.cells:
        if cell.cell_type == "code" and cell.id not in runs: cell.outputs = []
    write_clean(nb, path)
    nb = nbformat.read(path, as_version=4)    # what is sealed is what stands in the file
    seal(nb, about_this_run(data, flags))
    write_clean(nb, path)
    return ""


def store_quick(path: Path, flags: str, data: str) -> str:
    "For work in progress: cells that did not run keep what is stored, so there is no one run to name."
    nb = run_notebook(path, flags)
    nb.metadata.pop("run", None)
    write_clean(nb, path)
    return ""


def check(path: Path, flags: str, data: str) -> str:
    stored = nbformat.read(path, as_version=4)
    fault = seal_fault(stored)
    if not fault and stored.metadata.get("run", {}).get("data", data) != data: fault = "its outputs are from other data"
    if fault: return f"{path}: {fault}\nTo run it and store what it shows: make outputs NBS={path}"
    changed = compare_notebooks(stored, run_notebook(path, flags))
    if changed: changed["hint"] = f"If this is as it should be: make outputs NBS={path}"
    return "\n".join(changed.values())


WHAT = dict(test=test, store=store, store_quick=store_quick, check=check)


def run_tests(path: str) -> tuple:  # passed, failed, what went wrong
    "Run a file of tests with pytest, in a process of its own."
    with tempfile.TemporaryDirectory() as tmp:
        report = Path(tmp)/"report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", f"--junitxml={report}", path]
        res = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if not report.exists(): return 0, 1, res.stdout + res.stderr
        counts = ElementTree.parse(report).getroot().find("testsuite").attrib
    n, failed, skipped = (sum(int(counts[k]) for k in keys) for keys in (["tests"], ["failures", "errors"], ["skipped"]))
    if res.returncode and not failed: failed = 1
    return n - failed - skipped, failed, res.stdout + res.stderr if failed else ""


def job(
    what: str,  # "test", "store", "store_quick" or "check"
    path: str,  # of a notebook or, for "test", of a file of tests
    flags: str, data: str,
) -> tuple:  # passed, failed
    "Do one thing in this process, and print a line about it."
    start = time.perf_counter()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    if not measures(path): os.environ["OMP_NUM_THREADS"] = "1"    # as beside others, or sums would differ in their last digit
    if what == "test": os.environ["IN_TEST"] = "1"    # for nbdev and prove_exercises
    try:
        if not Path(path.split("::")[0]).exists(): passed, failed, why = 0, 1, f"{path} is not there"
        elif not path.endswith(".ipynb"): passed, failed, why = run_tests(path)
        else:
            why = WHAT[what](Path(path), flags, data)
            passed, failed = (0, 1) if why else (1, 0)
    except Exception as e: passed, failed, why = 0, 1, str(e) or repr(e)
    if why: print(re.sub(r"\x1b\[[\d;]*m", "", why))    # without colours
    count = "" if path.endswith(".ipynb") else f" ({passed} passed)"
    print(f"{path}: {time.perf_counter() - start:.0f} s, {'FAILED' if failed else 'ok'}{count}")
    return passed, failed


def in_own_process(args: list, env: dict) -> tuple:  # passed, failed
    "Run this file with `args`, print what it prints but for its last line, and read that."
    command = [sys.executable, "-m", "tools.notebooks", *args]
    res = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    *lines, last = res.stdout.rstrip().splitlines() or [""]
    m = re.fullmatch(r"(\d+) passed, (\d+) failed", last)
    print("\n".join(lines if m else [*lines, last]), flush=True)
    return (int(m[1]), int(m[2])) if m else (0, 1)


def measures(path: str) -> bool:
    "Does this notebook or file of tests measure time? Then nothing may run beside it. Slow cells count, run or not."
    file = Path(path.split("::")[0])
    if not file.exists(): return False
    if file.suffix != ".ipynb": return bool(MEASURES.search(file.read_text(encoding="utf-8")))
    return any(MEASURES.search(o.source) for o in nbformat.read(file, as_version=4).cells if o.cell_type == "code")


def run_all(
    what: str,  # "test", "store" or "check"
    paths: list,  # of notebooks and files of tests
    flags: str,  # as for `cells_to_run`
    options: list,  # for the process of each of them
) -> list:  # passed and failed, for each
    "First what measures no time, side by side and on one thread each, the longest first; then the rest, one by one."
    def size(path): return Path(path).stat().st_size if Path(path).exists() else 0
    alone = [o for o in paths if measures(o)]
    beside = sorted((o for o in paths if o not in alone), key=size, reverse=True)
    one_thread = dict(os.environ, OMP_NUM_THREADS="1")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try: res = list(pool.map(lambda o: in_own_process([what, o, *options], one_thread), beside))
        except KeyboardInterrupt: pool.shutdown(cancel_futures=True); raise
    return res + [in_own_process([what, o, *options], dict(os.environ)) for o in alone]


def main(args: list):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["test", "store", "check"])
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--flags", default="", help="cells with these flags run too: slow, cuda")
    parser.add_argument("--quick", action="store_true", help="store: leave slow cells out; check refuses such a notebook")
    opt = parser.parse_args(args)
    paths, flags, data, what = opt.paths, opt.flags.replace(",", " "), "", opt.what
    if not paths:
        paths = sorted(map(str, Path("nbs").glob("*.ipynb")))
        if what == "test": paths += sorted(map(str, Path("tests").glob("test_*.py")))
    if what == "store" and opt.quick: what = "store_quick"
    elif what == "store" and "slow" not in flags.split(): flags = f"slow {flags}".strip()
    if os.environ.get("MNIST_PATH", "embedded") != "embedded":    # is meant from here, and notebooks run in nbs
        os.environ["MNIST_PATH"] = str(Path(os.environ["MNIST_PATH"]).expanduser().absolute())
    if what != "test":
        from mnist_from_scratch.data import load_mnist
        data = load_mnist().source
        if data != "MNIST": sys.exit(f"Stored outputs are from MNIST, but this is {data}: set MNIST_PATH to a folder with MNIST.")
    if len(paths) == 1: counts = [job(what, paths[0], flags, data)]
    else: counts = run_all(opt.what, paths, flags, ["--flags", opt.flags, *(["--quick"] if opt.quick else [])])
    passed, failed = (sum(o[i] for o in counts) for i in (0, 1))
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(failed > 0 or not passed)


if __name__ == "__main__":
    try: main(sys.argv[1:])
    except KeyboardInterrupt: sys.exit(130)
