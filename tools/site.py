"""Makes the site in _docs: what nbdev and Quarto leave to us.

    python -m tools.site

Before nbdev, the reference pages are written. During it, `for_site` mends each cell of each page, as pyproject.toml says.
After it, `finish` mends what Quarto made. A warning of Quarto's is an error.
"""
import html, re, subprocess, sys
from importlib import import_module
from pathlib import Path

import nbformat, yaml
from nbdev.config import get_config, nbpath2html
from nbdev.doclinks import _get_exps
from nbformat import v4

from tools.opening import module_of

ROOT = Path(__file__).resolve().parent.parent


def contents(
    part=None,  # of the sidebar in nbs/_quarto.yml; all of it if None
) -> list:  # the names of files
    "What the sidebar lists, in its order."
    if part is None: part = yaml.safe_load((ROOT/"nbs/_quarto.yml").read_text(encoding="utf-8"))["website"]["sidebar"]["contents"]
    if isinstance(part, str): return [part]
    if isinstance(part, dict): return contents(part["contents"]) if "contents" in part else [part["href"]] if "href" in part else []
    return [o for p in part for o in contents(p)]


# --- before: the reference, a page for each module ---
def documented(module) -> list:
    "The names that `module` exports, each class followed by its public methods."
    from mnist_from_scratch._modidx import d
    known = [k.removeprefix(f"{module.__name__}.") for k in d["syms"][module.__name__]]
    methods = {o: [k for k in known if re.match(rf"{o}\.[^_]", k)] for o in module.__all__ if o in known}
    return [o for k, v in methods.items() for o in [k, *v]]


def reference_page(
    chapter: Path,  # the notebook that exports the module
):  # notebook, for nbdev to turn into a page
    "The reference page of a module: all that it exports, and the public methods of its classes."
    name = module_of(chapter)
    module = import_module(f"mnist_from_scratch.{name}")
    about = f"{module.__doc__.splitlines()[0]} [The chapter](../{Path(chapter).name}) explains it."
    page = [v4.new_markdown_cell(f"# {name} (reference)\n\n> Reference of `{module.__name__}`"), v4.new_markdown_cell(about),
            v4.new_code_cell(f"#| hide\nfrom {module.__name__} import *")]
    for o in documented(module): page.append(v4.new_code_cell(f"show_doc({o}, title_level={3 if '.' in o else 2})"))
    for i, cell in enumerate(page): cell.id = f"{name}-{i}"
    return v4.new_notebook(cells=page)


def write_reference(
    folder: Path,  # the folder with the notebooks
):
    "Write the reference pages into the folder `reference` below `folder`."
    reference = Path(folder)/"reference"
    reference.mkdir(exist_ok=True)
    # Git doesn't have these pages, so there is nothing to edit on GitHub; a search should find the chapter.
    (reference/"_metadata.yml").write_text("repo-actions: false\nsearch: false\n", encoding="utf-8")
    for path in filter(module_of, sorted(Path(folder).glob("*.ipynb"))):
        nbformat.write(reference_page(path), reference/f"{module_of(path)}.ipynb")


# --- during: each cell of each page ---
def with_lines(text: str) -> str:
    "The Markdown of `show_doc` with the line in the link to the source; nbdev looks the name up where it isn't."
    m = re.search(r"/(mnist_from_scratch/\w+\.py)#LNone.*?^#+ (\S+)", text, re.S | re.M)
    line = m and _get_exps(m[1]).get(m[2].replace("\\", ""))
    return text.replace("#LNone", f"#L{line}" if line else "")


def mend_output(data: dict, alt: str):
    "Mend what a cell shows, as a dict of formats; `alt` describes its picture."
    data.update({k: "".join(v) for k, v in data.items() if k.startswith("text/")})
    for k in data.keys() & {"text/markdown", "text/plain"}:    # an object as a default value has another address in every build
        text = re.sub(r"(?:<|&lt;)function (\S+) at 0x[0-9a-f]+(?:>|&gt;)", r"\1", with_lines(data[k]))
        data[k] = re.sub(r" at 0x[0-9a-f]+", "", text)
    if "text/html" in data:
        text = re.sub(r"<th\b([^>]*)>(?:\s|&nbsp;)*</th>", r"<td\1></td>", data["text/html"])    # the corner of a table is no heading
        if alt: text = re.sub(r"<img(?![^>]*\balt=)", lambda _: f'<img alt="{html.escape(alt)}"', text)
        data["text/html"] = text


def for_site(
    cell,  # of a notebook, as nbdev reads it; changed in place
):
    "Mend a cell of a page: comments for nbdev, descriptions of pictures, links, what changes from build to build."
    if cell.get("metadata"): cell.metadata.pop("execution", None)    # with it Quarto hides headings from the contents
    if cell.cell_type == "markdown":
        cell.source = re.sub(r"\A(#\|.*\n)+\n*", "", cell.source)
        cell.source = re.sub(rf" · \[[^]]*\]\({re.escape(get_config(ROOT).doc_url)}\)", "", cell.source)    # to itself
    m = re.search(r"^show_doc\(([\w.]+)", cell.source, re.M)
    if m: cell["id"] = f"doc-{m[1]}"    # nbdev gives it another in every build
    m = re.search(r"^#\| fig-alt: (.*)", cell.source, re.M)
    for o in cell.get("outputs", []):
        if "data" in o: mend_output(o["data"], m[1].strip("\"'") if m else "")


# --- after: what Quarto made ---
def finish_html(
    text: str,  # of a page
    url: str,  # where it will be
) -> str:
    "Name the page's own address in its head, and ask no other host for scripts that nothing here uses."
    tags = f'<link rel="canonical" href="{url}">\n<meta property="og:url" content="{url}">\n<meta property="og:type" content="article">\n'
    text = re.sub(r'<script[^>]*src="https://cdnjs\.cloudflare\.com/ajax/libs/(?:require\.js|jquery)/[^>]*></script>\s*', "", text)
    text = re.sub(r"<script[^>]*>define\('jquery'.*?</script>\s*", "", text)
    return text if 'rel="canonical"' in text else text.replace("</head>", f"{tags}</head>", 1)


def finish_markdown(
    text: str,  # of a page, as other programs read it
) -> str:
    "Links to other pages as Markdown, and no scripts, styles or pictures inside of the text."
    text = re.sub(r"(?s)<(script|style)\b.*?</\1>\s*", "", text)
    text = re.sub(r'<img[^>]*src="data:[^>]*>|!\[[^]]*\]\(data:[^)]*\)', "", text)
    def link(m): return f"{m[1]}{m[2]}{nbpath2html(m[3])}.md"
    return re.sub(r'(\]\(|href=")((?:\.\./|/)?)([\w-]+\.ipynb)', link, text)


def in_order(
    llms: str,  # the text of llms.txt
) -> str:
    "The list of modules in the order of the chapters; nbdev sorts it by name."
    names = [module_of(ROOT/"nbs"/o) for o in contents() if (ROOT/"nbs"/o).is_file() and o.endswith(".ipynb")]
    rows = re.findall(r"(?m)^- \[mnist_from_scratch\.\w+\].*\n", llms)
    def place(row): return {o: i for i, o in enumerate(names)}.get(re.match(r"- \[mnist_from_scratch\.(\w+)", row)[1], len(names))
    return llms.replace("".join(rows), "".join(sorted(rows, key=place)))


def finish(
    site: Path,  # the folder that holds the site
):
    "Mend the pages that Quarto made."
    site, home = Path(site), get_config(ROOT).doc_url
    for path in site.rglob("*.html"):
        if path.name == "404.html": continue
        url = home + path.relative_to(site).as_posix().removesuffix("index.html")
        path.write_text(finish_html(path.read_text(encoding="utf-8"), url), encoding="utf-8")
    for path in site.rglob("*.md"): path.write_text(finish_markdown(path.read_text(encoding="utf-8")), encoding="utf-8")
    llms = site/"llms.txt"
    if llms.exists(): llms.write_text(in_order(llms.read_text(encoding="utf-8")), encoding="utf-8")


def build():
    "Make the site; show what Quarto says, and end with an error if it warns."
    from nbdev import quarto_render
    from nbdev.quarto import nbdev_docs
    said = []
    def quarto(path, *args):
        res = subprocess.run(["quarto", *map(str, args)], cwd=path, capture_output=True, text=True, encoding="utf-8")
        if args[0] == "render": print(res.stdout, end="")
        print(res.stderr, end="", file=sys.stderr)
        said.append(res.stderr)
        if res.returncode: sys.exit(f"quarto {args[0]} failed")
        return res.stdout
    quarto_render._quarto = quarto
    write_reference(ROOT/"nbs")
    nbdev_docs.__wrapped__()
    finish(ROOT/"_docs")
    warnings = [o for o in "\n".join(said).splitlines() if "WARN" in o]
    if warnings: sys.exit("\n".join(["Quarto warns:", *warnings]))


if __name__ == "__main__": build()
