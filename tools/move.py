"""Moves the book to another address: every file in Git that names the old one will name the new one.

    python -m tools.move https://github.com/you/book [https://you.github.io/book/]

The second is the address of the site; without it, that of GitHub Pages.
"""
import os, re, subprocess, sys
from pathlib import Path
from urllib.parse import urlparse

import nbformat
from nbdev.config import get_config

from tools.notebooks import write_clean
from tools.outputs import seal, seal_fault


def pages(
    owner: str, repo: str,
) -> str:
    "The address that GitHub Pages gives to a repository."
    return f"https://{owner}.github.io/" + ("" if repo == f"{owner}.github.io" else f"{repo}/")


def moved(
    text: str,
    changes: list,  # pairs of an old and a new address, the longest first
) -> str:
    "The text with the new addresses; a longer name that begins with an old address is another one."
    for old, new in changes: text = re.sub(rf"(?<![\w.-]){re.escape(old)}(?![\w-])", new, text)
    return text


def move(
    folder: Path,  # a clone of the repository
    to: str,  # address of the new repository
    site: str = "",  # address of the new site
) -> list:  # the files that were changed
    "Write the new address in place of the old one."
    cfg, new = get_config(folder), urlparse(to.removesuffix(".git").rstrip("/"))
    m = re.fullmatch(r"/([\w-]+)/([\w.-]+)", new.path)
    if new.scheme != "https" or new.netloc != "github.com" or not m:
        sys.exit(f"expected an address as https://github.com/you/book, got {to!r}")
    old_site, new_site = cfg.doc_url.rstrip("/"), (site or pages(*m.groups())).rstrip("/")
    changes = [(old_site, new_site), (f"{cfg.user}/{cfg.repo}", f"{m[1]}/{m[2]}")]
    changed = []
    for name in subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, check=True).stdout.split(b"\0"):
        path = Path(folder)/name.decode()
        if not path.is_file(): continue
        try: text = path.read_bytes().decode()
        except UnicodeDecodeError: continue    # a picture
        new_text = moved(text, changes)
        if new_text == text: continue
        run = None
        if path.suffix == ".ipynb":
            nb = nbformat.read(path, as_version=4)
            run = None if seal_fault(nb) else nb.metadata.get("run")
        path.write_bytes(new_text.encode())
        if run:    # the cell that installs the library names the address: a whole seal stays whole
            nb = nbformat.read(path, as_version=4)
            seal(nb, {k: v for k, v in run.items() if k != "sha256"})
            write_clean(nb, path)
        changed.append(name.decode())
    return changed


if __name__ == "__main__":
    if not sys.argv[1:]: sys.exit(__doc__)
    changed = move(Path.cwd(), *sys.argv[1:])
    # The library's index of names has the address in parts.
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"}    # under which it does nothing
    subprocess.run([Path(sys.executable).parent/"nbdev-export"], env=env, check=True)
    print(f"{len(changed)} files changed; look at them with git diff. Then: make readme, make test")
