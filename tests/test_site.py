"""The site: what nbdev hands to Quarto, seen as a browser will see it by way of Pandoc, and what we do before and after."""
import html, json, os, re, shutil, subprocess, sys
from pathlib import Path
from urllib.parse import urldefrag

import nbformat, pypandoc, pytest, yaml
from bs4 import BeautifulSoup
from fastcore.nbio import mk_cell, read_nb
from nbdev.config import get_config

from tools import site
from tools.constraints import ROOT
from tools.opening import module_of, opening, write_opening

NBS = ROOT/"nbs"
NOTEBOOKS = sorted(NBS.glob("*.ipynb"))
CHAPTERS = [o for o in NOTEBOOKS if re.match(r"\d", o.name) and o.name < "93"]
QUARTO = yaml.safe_load((NBS/"_quarto.yml").read_text(encoding="utf-8"))
# In the table of contents, and not written yet; and the other way round. At the end nothing may be left.


# --- the notebooks ---
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda o: o.stem)
def test_how_a_chapter_opens(path):
    given = [o.source for o in read_nb(path).cells[1:3]]
    assert given == opening(path), f"python -m tools.opening nbs/{path.name}"


def test_the_opening_runs_where_the_library_is():
    from IPython.core.inputtransformer2 import TransformerManager
    exec(compile(TransformerManager().transform_cell(opening(CHAPTERS[0])[1]), "opening", "exec"), {})


def test_write_opening(tmp_path):
    (tmp_path/"pyproject.toml").write_text((ROOT/"pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    path = tmp_path/"07_new.ipynb"
    cells = [nbformat.v4.new_markdown_cell("# New"), nbformat.v4.new_markdown_cell("prose"), nbformat.v4.new_code_cell("#| default_exp new")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    for _ in range(2):
        write_opening(path)
        assert [o.source for o in read_nb(path).cells] == ["# New", *opening(path), "prose", "#| default_exp new"]
    assert "reference of `new`" in opening(path)[0]


def options(cell):
    "Quarto's options of a cell, as Quarto reads them."
    lines = [o[3:] for o in cell.source.splitlines() if o.startswith("#| ") and ": " in o]
    return yaml.safe_load("\n".join(lines)) or {}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda o: o.stem)
def test_every_described_picture_has_a_caption_and_is_stored(path):
    for c in read_nb(path).cells:
        opt = options(c) if c.cell_type == "code" and c.source.startswith("#| ") else {}
        if "fig-alt" not in opt: continue
        shown = [k for o in c.outputs for k in o.get("data", {})]
        assert isinstance(opt["fig-alt"], str) and isinstance(opt.get("fig-cap"), str), (c.id, "needs a fig-alt and a fig-cap")
        without_gpu = re.search(r"^#\|\s*cuda", c.source, re.M) and not c.outputs
        assert without_gpu or "image/png" in shown or "text/html" in shown, (c.id, "no picture is stored")


def test_the_table_of_contents():
    listed, there = site.contents(), {o.name for o in NOTEBOOKS}
    assert len(listed) == len(set(listed))
    assert set(listed) - there == {"reference/*"}
    assert not there - set(listed)


def test_the_table_of_contents_names_chapters_as_the_text_does():
    def entries(part): return [o for p in part for o in (entries(p["contents"]) if isinstance(p, dict) and isinstance(p.get("contents"), list) else [p])]
    texts = {o["href"]: o["text"] for o in entries(QUARTO["website"]["sidebar"]["contents"]) if isinstance(o, dict) and "href" in o}
    for name in site.contents():
        if not re.match(r"\d", name): continue
        assert texts[name].startswith(name[:2] + " "), name
        if (NBS/name).exists(): assert f"# {texts[name][3:]}" == read_nb(NBS/name).cells[0].source.splitlines()[0]


# --- configuration ---
def test_what_quarto_is_told():
    page, web = QUARTO["format"]["html"], QUARTO["website"]
    assert page["html-math-method"] == "mathml" and {"body-width", "sidebar-width", "margin-width"} <= page["grid"].keys()
    assert web["page-footer"] and web["navbar"]["right"][0]["href"] == get_config(ROOT).git_url
    assert "nbdev.yml" in QUARTO["metadata-files"]       # which has the site-url
    assert (NBS/"404.qmd").exists()
    css = (NBS/"styles.css").read_text(encoding="utf-8")
    assert re.search(r"main img \{[^}]*max-width: 100%;[^}]*height: auto", css) and "font-size: 0.78rem" in css
    for theme in page["theme"].values():
        assert "$web-font-path: false;" in (NBS/theme[1]).read_text(encoding="utf-8")
    assert "$pre-color: $body-color;" in (NBS/"dark.scss").read_text(encoding="utf-8")


def test_visible_code_fits_80_columns():
    "Of what `make docs` shows; how wide 80 columns are is in styles.css."
    wide = [f"{p.stem} {c.id}" for p in NOTEBOOKS for c in read_nb(p).cells if c.cell_type == "code" and not re.search(r"#\|\s*hide\b", c.source)
            for line in c.source.splitlines() if len(line) > 80 and not line.startswith("#|")]
    assert not wide, f"{len(wide)} lines are wider: {sorted(set(wide))}"


# --- a cell at a time ---
def test_comments_for_nbdev_do_not_show():
    cell = mk_cell("#| export\n\n| a | b |", "markdown")
    site.for_site(cell)
    assert cell.source == "| a | b |"


def test_the_site_does_not_link_to_itself():
    cell = mk_cell(f"[badge](x) · [read it as a site]({get_config(ROOT).doc_url}) · [source](y)", "markdown")
    site.for_site(cell)
    assert cell.source == "[badge](x) · [source](y)"


def mended(source, **data):
    data = {k.replace("_", "/"): v for k, v in data.items()}
    site.for_site(mk_cell(source, outputs=[{"data": data}]))
    return data


def test_the_description_reaches_html():
    data = mended('#| fig-alt: A line that "moves".\nshow()', text_html=['<img id="a"/>', '<img alt="b">'])
    assert data["text/html"] == '<img alt="A line that &quot;moves&quot;." id="a"/><img alt="b">'


def test_headings_are_no_longer_hidden_from_the_contents():
    cell = mk_cell("show()", metadata={"execution": {"total": 3}, "other": 1})
    site.for_site(cell)
    assert cell.metadata == {"other": 1}


def test_the_corner_of_a_table_is_no_heading():
    assert mended("", text_html='<tr><th></th><th class="blank">&nbsp;</th><th>a</th></tr>')["text/html"] == '<tr><td></td><td class="blank"></td><th>a</th></tr>'


def test_a_link_to_the_source_leads_to_the_line():
    shown = "---\n\n[source](https://x/blob/main/mnist_from_scratch/{}.py#LNone){{style=\"\"}}\n\n### {}\n\n```python"
    for module, name, start in [("tensors", "check", "def check("), ("learner", "Learner", "class Learner"), ("learner", "Learner.fit", "def fit(")]:
        text = mended("", text_markdown=shown.format(module, name))["text/markdown"]
        line = int(re.search(r"\.py#L(\d+)\)", text)[1])
        lines = (ROOT/f"mnist_from_scratch/{module}.py").read_text(encoding="utf-8").splitlines()
        assert start in "\n".join(lines[line - 2:line + 2])
    assert "#L" not in mended("", text_markdown=shown.format("tensors", "nothing"))["text/markdown"]


def test_no_address_of_a_function():
    assert mended("", text_markdown="name=<function rung_name at 0x7f12ab>")["text/markdown"] == "name=rung_name"


# --- after Quarto ---
HEAD = ('<head><title>x</title>\n<script src="https://cdnjs.cloudflare.com/ajax/libs/require.js/2.3.6/require.min.js" integrity="a"></script>\n'
        '<script src="https://cdnjs.cloudflare.com/ajax/libs/jquery/3.5.1/jquery.min.js" data-relocate-top="true"></script>\n'
        "<script type=\"application/javascript\" data-relocate-top=\"true\">define('jquery', [],function() {return window.jQuery;})</script>\n"
        '<script src="site_libs/quarto.js"></script></head>')


def test_finish_a_page():
    text = site.finish_html(HEAD, "https://here/mlp.html")
    assert '<link rel="canonical" href="https://here/mlp.html">' in text and '<meta property="og:url" content="https://here/mlp.html">' in text
    assert "cloudflare" not in text and "define(" not in text and 'src="site_libs/quarto.js"' in text
    assert site.finish_html(text, "https://here/mlp.html") == text


def test_finish_the_markdown_of_a_page():
    text = ('see [04](04_mlp.ipynb#relu), [up](../03_linear.ipynb), [there](https://github.com/a/b/blob/main/nbs/04_mlp.ipynb), <a href="index.ipynb">\n'
            '<script>frames[0] = "data:image/png;base64,AAAA"</script><style>\n.a { }\n</style>\n<img src="data:image/png;base64,AAAA" alt="x">\n![y](data:image/png;base64,AA)end')
    assert site.finish_markdown(text) == ('see [04](mlp.html.md#relu), [up](../linear.html.md), [there](https://github.com/a/b/blob/main/nbs/04_mlp.ipynb), '
                                          '<a href="index.html.md">\n\nend')


def test_llms_txt_is_in_the_order_of_the_chapters():
    text = site.in_order((NBS/"llms.txt").read_text(encoding="utf-8"))
    found = re.findall(r"\[mnist_from_scratch\.(\w+)\]", text)
    known = [module_of(NBS/o) for o in site.contents() if (NBS/o).is_file()]
    assert [o for o in found if o in known] == [o for o in known if o] and found[0] == "tensors"


def test_finish_the_site(tmp_path):
    (tmp_path/"reference").mkdir()
    for name in ("index.html", "404.html", "reference/sgd.html"): (tmp_path/name).write_text("<head></head>", encoding="utf-8")
    (tmp_path/"sgd.html.md").write_text("[a](03_linear.ipynb)", encoding="utf-8")
    site.finish(tmp_path)
    home = get_config(ROOT).doc_url
    assert f'href="{home}"' in (tmp_path/"index.html").read_text(encoding="utf-8")
    assert f'href="{home}reference/sgd.html"' in (tmp_path/"reference/sgd.html").read_text(encoding="utf-8")
    assert (tmp_path/"404.html").read_text(encoding="utf-8") == "<head></head>"
    assert (tmp_path/"sgd.html.md").read_text(encoding="utf-8") == "[a](linear.html.md)"


# --- the pages as nbdev prepares them ---
@pytest.fixture(scope="module")
def book(tmp_path_factory):
    "A copy of the project whose pages are prepared for Quarto."
    tmp = tmp_path_factory.mktemp("site")/"book"
    skip = shutil.ignore_patterns(".*", "__pycache__", "_proc", "_docs", "build", "dist", "*.egg-info", "reference")
    shutil.copytree(ROOT, tmp, ignore=skip)
    prepare = ("from pathlib import Path; from nbdev.serve import proc_nbs; import nbdev.doclinks; from tools.site import write_reference\n"
               "if __name__ == '__main__': write_reference('nbs'); nbdev.doclinks._build_modidx(); proc_nbs(n_workers=0)")
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"} | {"PYTHONPATH": str(tmp)}
    res = subprocess.run([sys.executable, "-c", prepare], cwd=tmp, env=env, capture_output=True, text=True)
    assert res.returncode == 0 and "imports and other code" not in res.stderr, res.stderr
    return tmp


def as_markdown(nb):
    "The page that nbdev prepared, as Markdown: text, code and outputs."
    res = []
    for cell in nb.cells:
        alt = (re.search(r"^#\| fig-alt: (.*)", cell.source, re.M) or ["", ""])[1].strip('"')
        code = re.sub(r"(?m)^#\|.*\n?", "", cell.source)
        if cell.cell_type != "code": res.append(cell.source)
        elif not re.search(r"^#\| echo: false", cell.source, re.M): res.append(f"````python\n{code}\n````")
        for o in cell.get("outputs", []):
            data = {k: "".join(v) for k, v in o.get("data", {}).items()}
            if o.output_type == "stream": res.append(f'````\n{"".join(o.text)}\n````')
            elif "image/png" in data: res.append(f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data["image/png"].strip()}">')
            elif "text/markdown" in data: res.append(data["text/markdown"])
            elif "text/html" in data: res.append(f'```{{=html}}\n{data["text/html"]}\n```')
            elif "text/plain" in data: res.append(f'````\n{data["text/plain"]}\n````')
    return "\n\n".join(res)


@pytest.fixture(scope="module")
def pages(book):
    "The pages of the site by their names, as BeautifulSoup reads them."
    res = {}
    for path in sorted((book/"_proc").rglob("*.ipynb")):
        nb = read_nb(path)
        name = yaml.safe_load(nb.cells[0].source.strip().strip("-"))["output-file"]
        page = pypandoc.convert_text(as_markdown(nb), "html5", format="markdown", extra_args=["--standalone"])
        res[(path.parent/name).relative_to(book/"_proc").as_posix()] = BeautifulSoup(page, "html.parser")
    return res


VAGUE = {"here", "this", "link", "click here", "this page", "more", "read more", ""}


def link_fault(
    page: str, href: str, text: str,  # where the link is, where it leads to, what it says
    pages: dict,  # the pages of the site by their names, as BeautifulSoup reads them
    home: str,  # the address of the site
):  # what is wrong, in words, or None
    "What is wrong with a link."
    if text.strip().lower() in VAGUE: return f"the link {text!r} to {href} does not say where it goes"
    if href.startswith(home): page, href = "index.html", href.removeprefix(home)
    target, anchor = urldefrag(href)
    if re.match(r"https?:|mailto:", target): return
    if target.endswith(".ipynb"): target = re.sub(r"(^|/)\d+_", r"\1", target).replace(".ipynb", ".html")
    other = os.path.normpath(Path(page).parent/target).replace("\\", "/") if target else page
    if other not in pages: return f"the link {text!r} leads to {href}, which is not there"
    if anchor and not pages[other].find(id=anchor): return f"the link {text!r} leads to {href}, but {other} has no {anchor}"


def faults(page, pages, home="https://here/"):
    "What hinders a reader of `page`: pictures without a description, skipped headings, vague or broken links."
    soup, res, level = pages[page], [], 0
    for im in soup.find_all("img"):
        if not im.get("alt", "").strip(): res.append(f"a picture has no description: {str(im)[:60]}")
    for h in soup.find_all(re.compile("^h[1-6]$")):
        if int(h.name[1]) > level + 1: res.append(f"the heading {h.get_text()!r} is of level {h.name[1]}, after one of level {level}")
        level = int(h.name[1])
    for a in soup.find_all("a", href=True):
        if a.get("aria-hidden"): continue      # Pandoc numbers the lines of code so
        text = " ".join([a.get_text(), *(o.get("alt", "") for o in a.find_all("img"))])
        res.append(link_fault(page, a["href"], text, pages, home))
    return [o for o in res if o]


GOOD = '<h1>A</h1><h2 id="b">B</h2><img alt="a three"><a href="#b">part B</a><a href="https://example.org">an example</a>'
def page(body): return {"a.html": BeautifulSoup(body, "html.parser")}
def test_a_good_page(): assert faults("a.html", page(GOOD)) == []


@pytest.mark.parametrize("what,body", {
    "no description": '<img alt="">', "is of level 3": "<h1>A</h1><h3>C</h3>", "does not say": '<a href="a.html">here</a>',
    "not there": '<a href="09_x.ipynb">chapter 9</a>', "has no c": '<a href="#c">part C</a>'}.items())
def test_a_fault_of_a_page_is_found(what, body):
    found = faults("a.html", page(body))
    assert len(found) == 1 and what in found[0]


def test_all_pages(pages):
    found = [f"{name}: {o}" for name in pages for o in faults(name, pages, get_config(ROOT).doc_url)]
    assert not found, "\n".join(found)
    links = [a["href"] for soup in pages.values() for a in soup.find_all("a", href=True)]
    assert len(pages) > 2*len(CHAPTERS) and sum(o.startswith(get_config(ROOT).doc_url) for o in links) > 100


def test_what_must_not_be_in_a_page(book):
    for path in (book/"_proc").rglob("*.ipynb"):
        text = path.read_text(encoding="utf-8")
        assert "#LNone" not in text and " at 0x" not in text and '"execution": {' not in text, path.name
        for c in nbformat.reads(text, as_version=4).cells:
            for o in c.get("outputs", []):
                soup = BeautifulSoup(o.get("data", {}).get("text/html", ""), "html.parser")
                assert not [o for o in soup.find_all("th") if not o.get_text().strip()], (path.name, c.id)


def test_a_page_is_the_same_in_every_build(book):
    def shown(path): return [(o.id, o.source, o.outputs) for o in nbformat.read(path, as_version=4).cells if o.cell_type == "code"]
    path = book/"_proc/reference/ladder.ipynb"
    first, text = shown(path), path.read_text(encoding="utf-8")
    path.unlink()
    again = "from nbdev.serve import proc_nbs\nif __name__ == '__main__': proc_nbs(n_workers=0, file_glob='ladder.ipynb')"
    subprocess.run([sys.executable, "-c", again], cwd=book, env=dict(os.environ, PYTHONPATH=str(book)), check=True, capture_output=True)
    assert len(first) > 3 and shown(path) == first and path.read_text(encoding="utf-8") != text    # it was made again


def test_the_reference_is_not_what_a_search_finds_and_has_names_of_its_own(book):
    assert yaml.safe_load((book/"_proc/reference/_metadata.yml").read_text()) == {"repo-actions": False, "search": False}
    titles = [yaml.safe_load(read_nb(o).cells[0].source.strip().strip("-"))["title"].lower() for o in (book/"_proc").rglob("*.ipynb")]
    assert len(titles) == len(set(titles)) and "sgd (reference)" in titles


# --- Quarto's warnings ---
STAND_IN = '''#!{python}
import json, os, sys
from pathlib import Path
if sys.argv[1] == "inspect":
    print(json.dumps(dict(files=dict(input=[]), config=dict(project=dict(type="website")))))
else:
    out = Path(sys.argv[sys.argv.index("--output-dir") + 1])
    out.mkdir(exist_ok=True)
    (out/"index.html").write_text("<head></head>")
    print("page rendered")
    print(os.environ["SAYS"], file=sys.stderr)
'''


@pytest.mark.skipif(os.name == "nt", reason="a stand-in for Quarto as a script")
@pytest.mark.parametrize("says,fails", [("Output created", False), ("WARN: unable to resolve link target", True)])
def test_a_warning_of_quarto_is_an_error(tmp_path, says, fails):
    book = tmp_path/"book"
    for name in ("tools", "mnist_from_scratch"): shutil.copytree(ROOT/name, book/name)
    (book/"nbs").mkdir()
    for name in ("pyproject.toml", "nbs/_quarto.yml", "nbs/00_tensors.ipynb"): shutil.copy(ROOT/name, book/name)
    (tmp_path/"quarto").write_text(STAND_IN.format(python=sys.executable), encoding="utf-8")
    (tmp_path/"quarto").chmod(0o755)
    env = dict(os.environ, PYTHONPATH=str(book), PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}", SAYS=says)
    env.pop("IN_TEST", None)
    res = subprocess.run([sys.executable, "-m", "tools.site"], cwd=book, env=env, capture_output=True, text=True)
    assert bool(res.returncode) == fails, res.stdout + res.stderr
    assert "page rendered" in res.stdout and says in res.stderr
    assert 'rel="canonical"' in (book/"_docs/index.html").read_text(encoding="utf-8")
