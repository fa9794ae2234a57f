"""Makes README.md from nbs/index.ipynb and CONTRIBUTING.md from nbs/contributing.ipynb.

    python -m tools.readme            write them
    python -m tools.readme --check    only say whether they are as they should be

Hidden cells and nbdev's comments are left out. Links are whole addresses, so that they work wherever the text is shown.
"""
import re, sys
from pathlib import Path

import nbformat
from nbdev.config import get_config

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "index.ipynb", "CONTRIBUTING.md": "contributing.ipynb"}


def absolute(
    target: str,  # of a link in a notebook in nbs
) -> str:
    "The address on GitHub of what a link leads to; links within the page and to other sites stay."
    if re.match(r"\w+:|#", target): return target
    cfg = get_config(ROOT)
    pages = {notebook: f"../{page}" for page, notebook in PAGES.items()}
    path = ("nbs/" + pages.get(target, target)).replace("nbs/../", "")
    return f"{cfg.git_url}/{'raw' if path.endswith('.png') else 'blob'}/{cfg.branch}/{path}"


def with_links(text: str) -> str:
    "Markdown with whole addresses in its links and pictures, but for those in code."
    parts = re.split(r"(?ms)(^```.*?^```)", text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r'(\]\(|(?:src|href)=")([^)"]+)', lambda m: m[1] + absolute(m[2]), parts[i])
    return "".join(parts)


def shown(outputs: list) -> list:
    "What a cell printed, as blocks of Markdown."
    texts = [o.text if o.output_type == "stream" else o.get("data", {}).get("text/plain", "") for o in outputs]
    return [f"```text\n{o.rstrip()}\n```" for o in texts if o]


def markdown(
    notebook: Path,
) -> str:
    "A notebook as Markdown."
    blocks = []
    for cell in nbformat.read(notebook, as_version=4).cells:
        if re.search(r"^#\|\s*hide\b", cell.source, re.M): continue
        source = re.sub(r"(?m)\A(#\|.*\n+)+", "", cell.source).strip()
        if cell.cell_type == "markdown": blocks.append(with_links(source))
        elif source: blocks += [f"```python\n{source}\n```", *shown(cell.outputs)]
    return "\n\n".join(blocks) + "\n"


def main(args: list):
    stale = []
    for page, notebook in PAGES.items():
        new = markdown(ROOT/"nbs"/notebook)
        if (ROOT/page).read_text(encoding="utf-8") == new: continue
        if "--check" in args: stale.append(page)
        else: (ROOT/page).write_text(new, encoding="utf-8", newline="\n")
    for page in stale: print(f"{page} is not what its notebook says: make readme")
    sys.exit(bool(stale))


if __name__ == "__main__": main(sys.argv[1:])
