"""Stored outputs: a number, a word or a picture that the code no longer gives is found, and times are not; outputs of two
runs, or edited by hand, are refused."""
import base64, io, os, re
from pathlib import Path

import nbformat, pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from tools import notebooks
from tools.constraints import ROOT
from tools.outputs import agree, compare, compare_notebooks, from_html, heading_of, is_time, masked, seal, seal_fault, about_this_run

NOTEBOOKS = sorted((ROOT/"nbs").glob("*.ipynb"))


def cell(source="", text="", id="a", **data):
    outputs = [new_output("stream", text=text)] if text else []
    if data: outputs.append(new_output("display_data", data={k.replace("_", "/"): v for k, v in data.items()}))
    return new_code_cell(source, id=id, outputs=outputs)


def table(heading, *values):
    "A data frame as pandas shows it in a notebook."
    rows = "".join(f"<tr><th>{i}</th><td>{o}</td></tr>" for i, o in enumerate(values))
    return f"<table><thead><tr><th></th><th>{heading}</th></tr></thead><tbody>{rows}</tbody></table>"


def png(color, size=(40, 30)):
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


# --- what is a time ---
@pytest.mark.parametrize("heading", ["seconds", "milliseconds", "ms", "s", "time", "minutes", "times as long", "Seconds",
                                     "an epoch, s", "a step, ms", "fit in seconds",
                                     "seconds per epoch", "ms for 64 digits", "ms a step"])
def test_a_heading_that_is_a_time(heading):
    assert is_time(heading)


NO_TIMES = ["min", "max", "second layer", "second", "times right", "memory cells", "memory", "MB", "timesteps",
            "first time", "seconds, accuracy", "classes", "s of h"]
@pytest.mark.parametrize("heading", NO_TIMES)
def test_a_heading_that_is_no_time_hides_nothing(heading):
    assert not is_time(heading)
    assert compare(cell(text_html=table(heading, 0.99)), cell(text_html=table(heading, 0.11)))
    def printed(x): return f"{'model':>12}  {heading:>16}\n{'ours':>12}  {x:>16}\n"
    assert compare(cell(text=printed(0.99)), cell(text=printed(0.11)))


def test_a_column_of_times_is_left_out_and_its_neighbours_are_not():
    def both(seconds, right): return [
        cell(text=f"          seconds  accuracy\nMNIST                      \nours      {seconds:7}    {right:.4f}\n"),
        cell(text_html=table("seconds", seconds)),
        cell(text=f"done after {seconds} s: {right:.4f} right\n")]
    for a, b in zip(both(0.34, .9828), both(1.17, .9828)): assert not compare(a, b)
    for a, b in zip(both(0.34, .9828)[::2], both(0.34, .9661)[::2]): assert compare(a, b)


def test_headings_one_blank_apart():
    ladder = ["                model  parameters  epochs  accuracy  per digit seconds   on 3",
              " pixel similarity, L1        1568       0    0.9514     0.9511    0.06 0.9168",
              "               linear         785      20    0.9828     0.9828   10.17 0.9851"]
    assert [o.split()[-5:] for o in masked("\n".join(ladder))[1:]] == [["0", "0.9514", "0.9511", "…", "0.9168"], ["20", "0.9828", "0.9828", "…", "0.9851"]]
    assert heading_of([ladder[0]], ladder[1].index("0.9511") + 6, ladder[1].index("0.06") + 4) == "seconds"
    assert heading_of(["  reading time"], 0, 14) == "reading time"      # one heading, which is not a time and nothing else


@pytest.mark.parametrize("a,b", [
    ("loaded 12,396 digits in 0.31 s, 3.2 times as fast", "loaded 12,396 digits in … s, … times as fast"),
    ("2.5 ms, 120 µs, 3 minutes, 47.2 MB", "… ms, … µs, … minutes, … MB"),
    ("epoch 1, loss 0.5, 00:12", "epoch 1, loss 0.5, …"),
    ("min 0.1 max 0.9, 3 times as many, 5 seconders, 7 samples", "min 0.1 max 0.9, 3 times as many, 5 seconders, 7 samples"),
    ("x[10:28], L2 s, 3 min, 5 classes", "x[10:28], L2 s, 3 min, 5 classes"),
    ("hash 1100ddddc436914721c1a9eafa36c4cf", "hash 1100ddddc436914721c1a9eafa36c4cf")])
def test_times_in_running_text(a, b):
    assert masked(a) == [b]


def test_progress_bars_are_left_out():
    assert masked("epoch 1\n\n |███-----| 33.33% [3/9 00:01<00:02]") == ["epoch 1"]


# --- do two runs agree? ---
@pytest.mark.parametrize("a,b", [("accuracy 0.9828 of 2,038", "accuracy 0.9838 of 2,038"), ("tensor([-1.2e-07, 3.00])", "tensor([ 4.0e-08, 3.01])")])
def test_near_numbers_agree(a, b):
    assert agree(a, b)


@pytest.mark.parametrize("a,b", [("accuracy 0.9661", "accuracy 0.9744"), ("accuracy 0.9828", "recall 0.9828"),
                                 ("35 mistakes", "36 mistakes"), ("1, 2", "1, 2, 3")])
def test_other_numbers_and_words_do_not(a, b):
    assert not agree(a, b)


def test_a_table_is_read_from_its_html():
    source = "<table><tr><th></th><th>seconds</th><th>accuracy</th></tr><tr><th>ours</th><td>0.34</td><td>0.9828</td></tr></table>"
    assert from_html(source) == "  seconds  accuracy\nours  …  0.9828"


def test_a_line_too_few_or_too_many():
    assert compare(cell(text="a\nb\n"), cell(text="a\n"))
    assert compare(cell(text="a\n"), cell(text="a\nb\n"))


# --- pictures ---
def test_a_swapped_picture_is_found():
    black, nearly, grey = (cell(image_png=png((o, o, o))) for o in (0, 2, 40))
    assert not compare(black, nearly)
    assert "changed: by 40.0" in compare(black, grey)[0]
    assert not compare(cell("#| varies", image_png=png("black")), cell("#| varies", image_png=png("white")))


def test_pictures_of_other_sizes_and_numbers():
    assert "40×30" in compare(cell(image_png=png("black")), cell(image_png=png("black", (40, 31))))[0]
    two = cell(image_png=png("black"))
    two.outputs *= 2
    assert compare(cell(image_png=png("black")), two)
    assert compare(cell(image_png=png("black")), cell(text="no picture"))


def test_the_frames_of_an_animation():
    def film(color): return f'<script>frames[0] = "data:image/png;base64,{png(color)[:30]}\\\n{png(color)[30:]}"</script>'
    assert not compare(cell(text_html=film("black")), cell(text_html=film("black")))
    assert compare(cell(text_html=film("black")), cell(text_html=film("white")))


# --- the seal ---
def sealed():
    nb = new_notebook(cells=[new_markdown_cell("prose", id="m"), cell("print(1)", "1\n", id="a"), cell("print(2)", "2\n", id="b")])
    seal(nb, about_this_run("MNIST", "slow"))
    return nb


def edit_output(nb): nb.cells[1].outputs[0].text = "7\n"
def edit_code(nb): nb.cells[1].source = "print(7)"
def drop_cell(nb): del nb.cells[2]
def swap_cells(nb): nb.cells[1:] = nb.cells[:0:-1]
def other_data(nb): nb.metadata["run"]["data"] = "embedded digits"
def other_torch(nb): nb.metadata["run"]["torch"] = "1.0"
def mixed(nb): nb.cells[2].outputs = [new_output("stream", text="2 of another run\n")]
def unsealed(nb): del nb.metadata["run"]


def test_a_whole_seal():
    nb = sealed()
    assert {"data", "torch", "numpy", "matplotlib", "python", "processor"} < nb.metadata["run"].keys()
    assert seal_fault(nb) == ""
    nb.cells[0].source = "other prose"
    assert seal_fault(nb) == ""
    assert seal_fault(new_notebook(cells=[cell("no outputs")])) == ""


@pytest.mark.parametrize("change", [edit_output, edit_code, drop_cell, swap_cells, other_data, other_torch, mixed, unsealed])
def test_a_broken_seal(change):
    nb = sealed()
    change(nb)
    assert seal_fault(nb)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda o: o.stem)
def test_the_outputs_of_each_notebook_are_from_one_run_on_mnist(path):
    nb = nbformat.read(path, as_version=4)
    assert not seal_fault(nb)
    assert nb.metadata.get("run", {}).get("data", "MNIST") == "MNIST"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda o: o.stem)
def test_sealed_outputs_are_of_the_versions_in_constraints(path):
    run = nbformat.read(path, as_version=4).metadata.get("run", {})
    wanted = dict(line.split("==") for line in (ROOT/"constraints.txt").read_text(encoding="utf-8").split())
    for name in run.keys() & {"torch", "numpy", "matplotlib"}: assert run[name].split("+")[0] == wanted[name]


# --- the runner ---
@pytest.fixture
def book(tmp_path, monkeypatch):
    "A small notebook: its second output is stale, its last cell is slow."
    for name in ("IN_TEST", "PYTHONPATH"): monkeypatch.setenv(name, os.environ.get(name, ""))    # the runner sets them
    (tmp_path/"pyproject.toml").write_text((ROOT/"pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    cells = [cell("import time\nx = 1/3\nprint(x)", "0.33333334\n", "one"), cell("print(f'accuracy {2.9*x:.4f}')", "accuracy 0.9828\n", "two"),
             cell("print('done in', time.process_time(), 's')", "done in 77.5 s\n", "three"), cell("#| slow\nprint('slow')", "later\n", "four")]
    path = tmp_path/"stale.ipynb"
    notebooks.write_clean(new_notebook(cells=cells), path)
    return path


def texts(path): return {o.id: "".join(p.text for p in o.outputs) for o in nbformat.read(path, as_version=4).cells}


def test_a_stale_output_is_found(book):
    found = compare_notebooks(nbformat.read(book, as_version=4), notebooks.run_notebook(book))
    assert {k: v.splitlines()[1:] for k, v in found.items()} == {"two": ["-accuracy 0.9828", "+accuracy 0.9667"]}


def test_store_replaces_all_and_seals(book, monkeypatch):
    assert "no run" in notebooks.check(book, "", "MNIST")
    notebooks.store(book, "slow", "MNIST")
    assert texts(book)["four"] == "slow\n" and "77.5" not in texts(book)["three"]
    assert notebooks.check(book, "slow", "MNIST") == ""
    text = book.read_text(encoding="utf-8")
    notebooks.nbdev_clean(str(book))
    assert book.read_text(encoding="utf-8") == text
    assert "other data" in notebooks.check(book, "", "embedded digits")
    book.write_text(text.replace("accuracy 0.9667", "accuracy 0.9666"), encoding="utf-8")
    assert "changed after the run" in notebooks.check(book, "slow", "MNIST")


def test_a_cell_that_does_not_run_shows_nothing(book):
    notebooks.store(book, "", "MNIST")
    assert texts(book)["four"] == ""


def test_quick_keeps_slow_outputs_and_seals_nothing(book):
    notebooks.store(book, "slow", "MNIST")
    notebooks.store_quick(book, "", "MNIST")
    assert texts(book)["four"] == "slow\n"
    assert "no run" in notebooks.check(book, "", "MNIST")


def test_every_picture_is_drawn_and_not_only_the_first(tmp_path):
    (tmp_path/"pyproject.toml").write_text((ROOT/"pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    draw = "import mnist_from_scratch.tensors as t\n_ = t.subplots()"
    nbformat.write(new_notebook(cells=[cell(draw, id="first"), cell(draw, id="second")]), tmp_path/"draw.ipynb")
    ran = notebooks.run_notebook(tmp_path/"draw.ipynb")
    assert [["image/png" in o.get("data", {}) for o in c.outputs] for c in ran.cells] == [[True], [True]]


def test_the_runner_counts(book, tmp_path, capsys):
    (tmp_path/"test_two.py").write_text("def test_a(): pass\ndef test_b(): assert 0\n", encoding="utf-8")
    with pytest.raises(SystemExit) as e: notebooks.main(["test", str(book), str(tmp_path/"test_two.py"), "nowhere.ipynb"])
    assert e.value.code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "2 passed, 2 failed"
    assert sum(": 0 s, FAILED" in o or "s, ok" in o or "FAILED (1 passed)" in o for o in lines) >= 3


def test_an_error_in_a_cell_is_a_failure(book, capsys):
    notebooks.write_clean(new_notebook(cells=[cell("1/0")]), book)
    with pytest.raises(SystemExit) as e: notebooks.main(["test", str(book)])
    assert e.value.code
    out = capsys.readouterr().out
    assert "ZeroDivisionError" in out and out.splitlines()[-1] == "0 passed, 1 failed"


# --- numbers that stand in two places ---
def test_the_table_in_the_index_is_that_of_the_ladder():
    def table_in(text): return masked(re.search(r"MNIST: 12,396 .*\n\n(?:.*\d\.\d+.*\n|.*model.*\n)+", text)[0])
    cells = [c for name in ("91_ladder", "index") for c in nbformat.read(ROOT/f"nbs/{name}.ipynb", as_version=4).cells]
    texts = [o.get("text", "") for c in cells if c.cell_type == "code" for o in c.outputs] + [c.source for c in cells if c.cell_type == "markdown"]
    stored, copied = (table_in(o) for o in texts if "MNIST: 12,396 digits" in o and "on 3" in o)
    assert len(stored) == len(copied) > 5
    for a, b in zip(stored, copied): assert agree(a, b), f"{a}\n{b}"
