"""The project: one home for every fact, a library that is what the notebooks say, light, typed and documented."""
import ast, os, re, subprocess, sys
from configparser import ConfigParser
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import distribution, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest, yaml
from nbdev.config import bump_version, get_config, set_version

import mnist_from_scratch
from tools import move, opening, readme, size
from tools.constraints import ROOT, requirements

if sys.version_info >= (3, 11): import tomllib
else: import tomli as tomllib

LIBRARY = ROOT/"mnist_from_scratch"
MODULES = sorted(o.stem for o in LIBRARY.glob("[a-z]*.py"))
PROJECT = tomllib.loads((ROOT/"pyproject.toml").read_text(encoding="utf-8"))["project"]
SETTINGS = ConfigParser()
SETTINGS.read(ROOT/"settings.ini", encoding="utf-8")


def read(name): return (ROOT/name).read_text(encoding="utf-8")


def tracked():
    "The files in Git, with their text; pictures are left out."
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    files = [o for o in names if o and (ROOT/o).is_file() and not o.endswith(".png")]
    if not files: pytest.skip("not a clone of the repository")
    return {o: read(o) for o in files}


# --- one home for every fact ---
def wants(key): return {o.strip() for o in SETTINGS["DEFAULT"][key].strip().splitlines()}


def installed():
    dist = distribution("mnist_from_scratch")
    origin = next(iter(dist.files), None)
    if not (ROOT/"mnist_from_scratch.egg-info").exists(): pytest.skip("another copy is installed: pip install -e .")
    return dist


def test_nothing_has_two_homes():
    assert set(SETTINGS["DEFAULT"]) == {"requirements", "book_requirements", "dev_requirements"}
    assert set(PROJECT["dynamic"]) == {"version", "dependencies", "optional-dependencies"}
    assert not set(PROJECT["dynamic"]) & set(PROJECT)
    assert "version" not in yaml.safe_load(read("CITATION.cff"))


def test_the_installed_package_is_what_the_files_say():
    dist = installed()
    assert dist.version == mnist_from_scratch.__version__
    here = {o for o in dist.requires if "extra ==" not in o}
    assert here == wants("requirements")
    assert {o.split(";")[0].strip() for o in dist.requires} - here == wants("book_requirements") | wants("dev_requirements")
    scripts = {o.name: o.value for o in dist.entry_points if o.group == "console_scripts"}
    assert scripts == PROJECT["scripts"]


@pytest.mark.parametrize("value", PROJECT["scripts"].values())
def test_each_command_is_there(value):
    module, name = value.split(":")
    assert callable(getattr(import_module(module), name))


def test_nbdev_raises_the_version_in_its_one_home(tmp_path):
    init = tmp_path/"__init__.py"
    init.write_text(read("mnist_from_scratch/__init__.py"), encoding="utf-8")
    new = bump_version(mnist_from_scratch.__version__)
    set_version(tmp_path, new)
    assert f'__version__ = "{new}"' in init.read_text(encoding="utf-8")
    old = mnist_from_scratch.__version__
    homes = [k for k, v in tracked().items() if re.search(rf"(?<![\d.]){re.escape(old)}(?![\d.])", v) and not k.endswith((".ipynb", ".txt"))]
    assert set(homes) <= {"mnist_from_scratch/__init__.py", "CHANGELOG.md", "CONTRIBUTING.md"}, homes


def test_the_oldest_python_is_named_alike():
    oldest = PROJECT["requires-python"].removeprefix(">=")
    for file, text in {"README.md": f"Python {oldest} or later", ".github/workflows/test.yml": f'"{oldest}"'}.items():
        assert text in read(file), f"{file} does not say {text}, as pyproject.toml does"


def test_the_constraints_name_every_requirement_within_its_bound():
    pinned = dict(line.split("==") for line in read("constraints.txt").split())
    assert pinned.keys() == requirements().keys()
    def parts(v): return [int(o) for o in re.findall(r"\d+", v)]
    for name, bound in requirements().items(): assert parts(pinned[name]) >= parts(bound), name


def imported():
    "The distributions that the library imports from, wherever in a module."
    names = set()
    for module in MODULES:
        for node in ast.walk(ast.parse(read(f"mnist_from_scratch/{module}.py"))):
            if isinstance(node, ast.Import): names |= {o.name.split(".")[0] for o in node.names}
            if isinstance(node, ast.ImportFrom) and not node.level: names.add(node.module.split(".")[0])
    dists = packages_distributions()
    return {dists.get(o, [o])[0].lower() for o in names - sys.stdlib_module_names - {"mnist_from_scratch"}}


# Required by modules that are not there yet, or no longer by those that come. At the end nothing may be left.
UNUSED = set()
WITH_THE_BOOK = {"ipython", "torchvision"}    # Jupyter's and fastai's; imported where there is Jupyter or fastai


def test_the_requirements_are_what_the_library_imports():
    def names(key): return {re.match(r"[\w-]+", o)[0].lower() for o in wants(key)}
    assert imported() - names("requirements") - names("book_requirements") <= WITH_THE_BOOK
    assert names("requirements") - imported() <= UNUSED


def test_how_to_install_it():
    "Until it is on the package index, each command that installs it names the repository."
    for file, text in tracked().items():
        for line in re.findall(r"pip install[^\n]*mnist_from_scratch[^\n]*", text):
            if file.startswith("tests/"): continue
            assert "git+https://" in line, f"{file}: {line}"


# --- the address ---
def test_the_address_is_everywhere_the_same():
    cfg = get_config(ROOT)
    for file, text in tracked().items():
        for owner in re.findall(r"github\.com/([\w-]+)/mnist_from_scratch\b", text): assert owner == cfg.user, file
        for owner in re.findall(r"([\w-]+)\.github\.io/mnist_from_scratch\b", text): assert owner == cfg.user, file


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    "A clone of the project as it is now, moved to another address."
    folder = tmp_path_factory.mktemp("move")/"book"
    for name, text in tracked().items():
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/name).write_text(text, encoding="utf-8")
    for args in (["init", "-q"], ["add", "-A"]): subprocess.run(["git", *args], cwd=folder, check=True)
    command = [sys.executable, "-m", "tools.move", "https://github.com/you/book"]
    subprocess.run(command, cwd=folder, env=dict(os.environ, PYTHONPATH=str(folder)), check=True, capture_output=True)
    return folder


def test_a_moved_book_has_no_trace_of_the_old_address(elsewhere):
    cfg, names = get_config(ROOT), []
    assert (cfg.user, cfg.repo) != ("you", "book")
    for path in elsewhere.rglob("*"):
        if not path.is_file() or {".git", "__pycache__"} & set(path.parts): continue
        text = path.read_text(encoding="utf-8")
        if f"{cfg.user}/" in text or cfg.doc_host.split("//")[1] in text: names.append(path.relative_to(elsewhere))
    assert not names
    new = get_config(elsewhere)
    assert (new.git_url, new.doc_url) == ("https://github.com/you/book", "https://you.github.io/book/")


def test_a_moved_book_is_consistent(elsewhere):
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"} | {"PYTHONPATH": str(elsewhere)}
    def run(*args): return subprocess.run(args, cwd=elsewhere, env=env, capture_output=True, text=True)
    res = run(sys.executable, "-m", "tools.readme", "--check")
    assert res.returncode == 0, res.stdout
    run("git", "add", "-A")
    for command in ("nbdev-export", "nbdev-clean"): assert run(Path(sys.executable).parent/command).returncode == 0
    assert run("git", "diff", "--stat").stdout == ""


def test_a_move_keeps_a_seal_whole(tmp_path):
    import nbformat
    from tools.notebooks import write_clean
    from tools.outputs import seal, seal_fault
    cfg = get_config(ROOT)
    (tmp_path/"pyproject.toml").write_text(read("pyproject.toml"), encoding="utf-8")
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"# {cfg.git_url}\n1", id="a", outputs=[nbformat.v4.new_output("stream", text="1\n")])])
    seal(nb, dict(data="MNIST"))
    write_clean(nb, tmp_path/"a.ipynb")
    for args in (["init", "-q"], ["add", "-A"]): subprocess.run(["git", *args], cwd=tmp_path, check=True)
    assert move.move(tmp_path, "https://github.com/you/book") == ["a.ipynb", "pyproject.toml"]
    new = nbformat.read(tmp_path/"a.ipynb", as_version=4)
    assert "you/book" in new.cells[0].source and not seal_fault(new)


@pytest.mark.parametrize("to", ["you/book", "http://github.com/you/book", "https://example.org/you/book", "https://github.com/you"])
def test_a_wrong_address_is_refused(to):
    with pytest.raises(SystemExit, match="expected an address"): move.move(ROOT, to)


def test_a_longer_name_is_another_address():
    assert move.moved("a/b a/b-c xa/b a/b.git (a/b)", [("a/b", "c/d")]) == "c/d a/b-c xa/b c/d.git (c/d)"


# --- README.md and CONTRIBUTING.md ---
@pytest.mark.parametrize("page,notebook", readme.PAGES.items())
def test_the_page_is_what_its_notebook_says(page, notebook):
    text = readme.markdown(ROOT/"nbs"/notebook)
    assert read(page) == text, f"{page}: make readme"
    prose = re.sub(r"(?ms)^```.*?^```", "", text)
    for target in re.findall(r'(?:\]\(|(?:src|href)=")([^)"]+)', prose):
        assert re.match("https://|#", target), f"{page}: {target} is no whole address"
        file = re.fullmatch(rf"{get_config(ROOT).git_url}/(?:blob|raw)/main/(.*)", target)
        if file: assert (ROOT/file[1].split("#")[0]).exists(), f"{page}: {target} is not there"


def test_what_readme_leaves_out(tmp_path):
    import nbformat.v4 as v4
    cells = [v4.new_markdown_cell("#| export\n\nprose [a](images/a.png) [b](01_b.ipynb#c) [d](#d) [e](../LICENSE) [f](contributing.ipynb)\n\n```sh\n](x)\n```"),
             v4.new_code_cell("#| hide\nsecret"), v4.new_code_cell("#| varies\nshown", outputs=[v4.new_output("stream", text="out\n")])]
    import nbformat
    nbformat.write(v4.new_notebook(cells=cells), tmp_path/"a.ipynb")
    url = get_config(ROOT).git_url
    assert readme.markdown(tmp_path/"a.ipynb") == (
        f"prose [a]({url}/raw/main/nbs/images/a.png) [b]({url}/blob/main/nbs/01_b.ipynb#c) [d](#d) [e]({url}/blob/main/LICENSE) "
        f"[f]({url}/blob/main/CONTRIBUTING.md)\n\n```sh\n](x)\n```\n\n```python\nshown\n```\n\n```text\nout\n```\n")


# --- the library is what the notebooks say ---
SKIP = {"__pycache__", ".ipynb_checkpoints", ".last_checked", "nbdev.yml", "sidebar.yml", "reference"}    # as in .gitignore


def contents(top):
    "The files of the project below `top`, with their bytes."
    files = [top/"pyproject.toml", top/"settings.ini", *(top/"nbs").rglob("*"), *(top/"mnist_from_scratch").rglob("*")]
    def content(f): return f.read_bytes().replace(b"\r\n", b"\n")       # Windows has its own line ends
    return {f.relative_to(top): content(f) for f in files if f.is_file() and not SKIP & set(f.relative_to(top).parts)}


def changed_by(command, files):
    "The files that `command` adds, changes or removes in a copy of the project."
    with TemporaryDirectory() as tmp:
        for name, content in files.items():
            (Path(tmp)/name).parent.mkdir(parents=True, exist_ok=True)
            (Path(tmp)/name).write_bytes(content)
        env = {k: v for k, v in os.environ.items() if k != "IN_TEST"}   # under which nbdev-export does nothing
        res = subprocess.run([Path(sys.executable).parent/command], cwd=tmp, env=env, capture_output=True, text=True)
        assert res.returncode == 0, f"{command} failed: {res.stderr}"
        after = contents(Path(tmp))
    return sorted(str(o) for o in files.keys() | after.keys() if files.get(o) != after.get(o))


@pytest.mark.parametrize("command", ["nbdev-export", "nbdev-clean"])
def test_nbdev_finds_nothing_to_change(command):
    changed = changed_by(command, contents(ROOT))
    assert not changed, f"{command} changes {', '.join(changed)}; run it and look at the difference"


def test_nbdev_finds_a_change_where_there_is_one():
    files, path = contents(ROOT), Path("nbs")/"01_pixel_similarity.ipynb"
    files[path] = files[path].replace(b'"execution_count": null', b'"execution_count": 7', 1).replace(b"def l1_distance", b"def l3_distance", 1)
    assert changed_by("nbdev-clean", files) == [str(path)]
    assert str(Path("mnist_from_scratch")/"pixel_similarity.py") in changed_by("nbdev-export", files)


def test_every_module_is_in_llms_txt():
    for module in MODULES:
        assert f"[mnist_from_scratch.{module}](" in read("nbs/llms.txt"), f"{module}: mark the table of its new names as #| export"


def test_nbdev_runs_a_notebook_too():
    "The runner uses a Jupyter kernel; `nbdev-test`, a shell of its own, must do as well."
    env = dict(os.environ, MNIST_PATH="embedded", PYTHONPATH=str(ROOT))
    command = [Path(sys.executable).parent/"nbdev-test", "nbs/01_pixel_similarity.ipynb"]
    res = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert "Success" in res.stdout, res.stderr


# --- the library is light ---
HEAVY = {"fastai", "nbdev", "execnb", "IPython", "ipykernel", "jupyter_client", "jupyter_core", "notebook", "nbformat", "sklearn",
         "scipy", "accelerate", "webdataset", "pytest", "hypothesis"}


def test_importing_the_library_loads_nothing_heavy():
    "One module after the other in a new process; each is blamed for what it loads."
    code = f"""if True:
        import importlib, sys
        for module in {MODULES}:
            before = set(sys.modules)
            importlib.import_module(f'mnist_from_scratch.{{module}}')
            heavy = {{o.split('.')[0] for o in set(sys.modules) - before}} & {HEAVY}
            if heavy: print(module, 'loads', *heavy)"""
    res = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert res.stdout == ""


def test_the_version_can_be_read_without_pytorch():
    code = "import sys, mnist_from_scratch; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout == "False\n"


# --- what is exported is annotated and documented ---
# Modules that are not there yet. Nothing may be added, and at the end nothing may be left.
NOT_YET = set()
NO_DOCMENT = {"inp", "out", "x", "xb", "yb", "targ"}    # obvious where layers and events have them


def parameters(fn):
    "All parameters of a function, as `ast` has them."
    a = fn.args
    return [*a.posonlyargs, *a.args, *filter(None, [a.vararg]), *a.kwonlyargs, *filter(None, [a.kwarg])]


def event(fn): return re.match(r"(before|after)_|(forward|bwd|backward|step|get_loss|__\w+__)$", fn.name)


def signature_faults(fn, lines, where):
    "What is missing in a signature: annotations, comments, a line for each parameter, a docstring."
    params = [o for o in parameters(fn) if o.arg not in ("self", "cls")]
    rest = fn.args.vararg, fn.args.kwarg    # as in *args and **kwargs, which need neither
    res = [f"{where}: {o.arg} is not annotated" for o in params if not o.annotation and o not in rest]
    if event(fn) and fn.name != "__init__" and {o.arg for o in params if o not in rest} <= NO_DOCMENT: return res
    starts = [o.lineno for o in params]
    for o in params:
        if starts.count(o.lineno) > 1 or o.lineno == fn.lineno: res.append(f"{where}: {o.arg} shares its line")
        elif "#" not in lines[o.lineno - 1] and o not in rest: res.append(f"{where}: {o.arg} has no comment")
    returns = [o for o in ast.walk(fn) if isinstance(o, ast.Return) and o.value and not (isinstance(o.value, ast.Constant) and o.value.value is None)]
    own = [o for o in returns if not any(o in ast.walk(f) for f in ast.walk(fn) if f is not fn and isinstance(f, (ast.FunctionDef, ast.Lambda)))]
    if own and not fn.returns: res.append(f"{where}: what it returns is not annotated")
    one_line = "." in where and fn.lineno == fn.end_lineno    # a method that says all itself
    if fn.name != "__init__" and not one_line and not ast.get_docstring(fn): res.append(f"{where}: no docstring")
    return res


def faults(source):
    "What is missing in the signatures of all public functions, classes and methods of a module."
    res, lines = [], source.splitlines()
    for node in ast.parse(source).body:
        if getattr(node, "name", "_").startswith("_"): continue
        if isinstance(node, ast.FunctionDef): res += signature_faults(node, lines, node.name)
        if not isinstance(node, ast.ClassDef): continue
        if not ast.get_docstring(node): res.append(f"{node.name}: no docstring")
        for fn in node.body:
            if not isinstance(fn, ast.FunctionDef) or re.match(r"_(?!_init__)", fn.name): continue
            res += [o for o in signature_faults(fn, lines, f"{node.name}.{fn.name}") if not (event(fn) and "docstring" in o)]
    return res


@pytest.mark.parametrize("module", [o for o in MODULES if o not in NOT_YET])
def test_public_names_are_annotated_and_documented(module):
    found = faults(read(f"mnist_from_scratch/{module}.py"))
    assert not found, "\n".join(found)


def test_not_yet_names_only_what_is_not_there_yet():
    done = [o for o in NOT_YET & set(MODULES) if not faults(read(f"mnist_from_scratch/{o}.py"))]
    assert not done, f"take these off NOT_YET: {done}"


GOOD = '''
def f(
    x: Tensor,  # digits
    *args,
    n: int = 3,  # how many
) -> Tensor:  # answers
    "Does it."
    return x

class A:
    "It."
    def __init__(
        self,
        lr: float,  # learning rate
    ): self.lr = lr
    def forward(self, x: Tensor): return x
    def parameters(self) -> list: return []
    def _private(self, a, b): pass
'''


def test_a_good_signature(): assert faults(GOOD) == []


@pytest.mark.parametrize("old,new,what", [
    ("x: Tensor,  # digits", "x,  # digits", "x is not annotated"),
    ("n: int = 3,  # how many", "n: int = 3,", "n has no comment"),
    ("    x: Tensor,  # digits\n    *args,\n", "    x: Tensor, *args,  # digits\n", "x shares its line"),
    (") -> Tensor:", "):", "returns is not annotated"),
    ('    "Does it."\n', "", "f: no docstring"), ('    "It."\n', "", "A: no docstring"),
    ("        lr: float,  # learning rate", "        lr,  # learning rate", "A.__init__: lr is not annotated"),
    ("self, x: Tensor)", "self, x)", "x is not annotated")])
def test_a_fault_in_a_signature_is_found(old, new, what):
    assert old in GOOD
    assert any(what in o for o in faults(GOOD.replace(old, new)))


# --- names that moved ---
MOVED = {"mlp": dict(backprop="relu lin Module Lin Relu Mse Model gradient_report", initialization="init_kaiming activation_stats"),
         "learner": dict(optimizers="SGD Adam LRFinder SuggestedLRs", recipe="MixedPrecision"),
         "ten_digits": dict(convolutions="conv_net", recipe="LABEL_SMOOTHING shift_batch ShiftBatch digits_learner", own_digits="DigitReader show_mistakes")}
CASES = [(old, new, name) for old, places in MOVED.items() for new, names in places.items() for name in names.split()]


@pytest.mark.parametrize("old,new,name", CASES)
def test_a_name_that_moved_says_where_it_is(old, new, name):
    if not find_spec(f"mnist_from_scratch.{new}"): pytest.skip(f"{new} is not there yet")
    with pytest.raises(ImportError, match=rf"mnist_from_scratch\.{new}"): exec(f"from mnist_from_scratch.{old} import {name}")


# --- the size ---
def test_what_counts_as_a_line_of_code():
    source = '"Module."\n# a comment\nimport os\n\ndef f(\n    x,  # documented\n    y,\n) -> int:  # documented\n    """Two\n    lines."""\n    s = """a\n    b"""\n    return x\n'
    assert size.count(source) == (6, 5)


# --- words that belong to a workshop and not into the book ---
WORKSHOP = [r"/wo" + "rk/", "/t" + "mp/w/", "book_" + "check", "work " + "order", "sub" + "agent", "anth" + "ropic", "cla" + "ude",
            r"sha" + r"red/(?!mnist)"]


def test_no_word_of_the_workshop():
    for file, text in tracked().items():
        text = re.sub(r'"(?:image/png|text/html)": (?:"[^"]*"|\[[^\]]*\])', "", text)
        for word in WORKSHOP:
            m = re.search(f".{{0,40}}{word}.{{0,40}}", text, re.I)
            assert not m, f"{file}: {m[0]}"
            if file != ".ci/run": assert "sha" + "red/mnist" not in text, file
