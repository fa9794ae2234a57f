"""Writes what stands below the title of a chapter: links, and a cell that installs the library where it is missing.

    python -m tools.opening nbs/03_linear.ipynb
"""
import re, sys
from pathlib import Path

import nbformat
from nbdev.config import get_config

ROOT = Path(__file__).resolve().parent.parent


def module_of(
    notebook: Path,
) -> str | None:
    "The name of the module that a notebook exports."
    m = re.search(r"#\|\s*default_exp (\w+)", Path(notebook).read_text(encoding="utf-8"))
    return m and m[1]


def opening(
    notebook: Path,  # of a chapter
) -> list:  # the texts of its second cell, Markdown, and of its third, code
    "What stands below the title of a chapter. The cell does nothing where the library is; the site hides it."
    cfg, name, module = get_config(ROOT), Path(notebook).name, module_of(notebook)
    repo = f"{cfg.user}/{cfg.repo}"
    file = f"{repo}/blob/{cfg.branch}/nbs/{name}"
    colab, binder = "https://colab.research.google.com", "https://mybinder.org"
    links = (f"[![Run in Colab]({colab}/assets/colab-badge.svg)]({colab}/github/{file}) [![Run in Binder]({binder}/badge_logo.svg)]"
             f"({binder}/v2/gh/{repo}/{cfg.branch}?urlpath=lab/tree/nbs/{name}) · [source of this chapter](https://github.com/{file})")
    if module: links += f" · [reference of `{module}`]({cfg.doc_url}reference/{module}.html)"
    install = f'%pip install -q "{cfg.lib_name}[book] @ git+{cfg.git_url}"'
    return [links, f"#| hide\ntry: import {cfg.lib_name}\nexcept ImportError:\n    {install}"]


def write_opening(
    notebook: Path,  # of a chapter
):
    "Put the opening below the title, in place of one that is there."
    from tools.notebooks import write_clean
    nb = nbformat.read(notebook, as_version=4)
    cells = [c for c in nb.cells if "[![Run in Colab]" not in c.source and "%pip install -q" not in c.source]
    links, install = opening(notebook)
    old = {c.source: c for c in nb.cells}
    cells[1:1] = [old.get(links) or nbformat.v4.new_markdown_cell(links), old.get(install) or nbformat.v4.new_code_cell(install)]
    if cells == nb.cells: return
    nb.cells = cells
    write_clean(nb, notebook)


if __name__ == "__main__":
    for path in sys.argv[1:] or [sys.exit(__doc__)]: write_opening(Path(path))
