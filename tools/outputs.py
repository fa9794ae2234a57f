"""Stored outputs: what they show, whether two runs show the same, and the seal that says they are from one run.

Text, tables and pictures are compared. Times are left out, since they are never the same twice: in running text a
number directly before its unit, and in a table a column whose heading is a time and nothing else. If a cell shows other
things that change from run to run it says so by `#| varies`: then only its words are compared.
"""
import base64, difflib, hashlib, html, io, json, os, platform, re
from importlib.metadata import version

from PIL import Image, ImageChops, ImageStat

# --- what is a time ---
UNIT = r"(?:[nmµ]?s|(?:milli|micro)?seconds?|minutes?|hours?|[KMG]i?B)\b|(?:times|×) (?:as (?:fast|long|slow)|faster|slower)\b"
TIME = re.compile(rf"(?<![\w.,])\d[\d.,]*(?= ?(?:{UNIT}))|(?<![\w:.,\[])\d+:\d\d(?::\d\d)?(?![\w:.,\]])")
HEADINGS = {"seconds", "milliseconds", "microseconds", "minutes", "ms", "µs", "s", "time", "times as long"}
BAR = re.compile(r"[\s█|-]*|.*\[\d+/\d+ .*<.*\]\s*")    # an empty line, or a part of a progress bar
NUMBER = re.compile(r"([-+]?\d[\d,]*(?:\.\d*)?(?:e[-+]?\d+)?)")


def is_time(heading: str) -> bool:
    "Is this the heading of a column of times?"
    heading = " ".join(heading.split()).lower()
    return heading in HEADINGS or bool(re.search(r"(, [mµ]?s| in (milli|micro)?seconds)$|^((milli|micro)?seconds|[mµ]?s) (per|for|an?) [^,]+$", heading))


def heading_of(
    above: list,  # the lines above, nearest first
    left: int, right: int,  # where the number before it ends in its line, and where it ends itself
) -> str:
    "The heading of a number in a table that was printed: columns are right-aligned and end together."
    for line in above:
        if not re.match(r"\S(?!\S)", line[right-1:right+1]): continue    # no word ends there
        if re.search(r"\d", line[left:right]): continue                  # another row
        chunk = re.split(r"\s\s+", line[:right])[-1]                     # headings with wide gaps between them
        if left and re.match(r"\S\s", line[left-1:left+1]): chunk = min(chunk, line[left:right].strip(), key=len)
        return chunk
    return ""


def masked(text: str) -> list:  # its lines
    "The lines of `text`, without progress bars and with a … in place of each time."
    lines, res = [o for o in text.splitlines() if not BAR.fullmatch(o)], []
    for i, line in enumerate(lines):
        new, end = "", 0
        for m in re.finditer(r"\S+", line):
            number = re.search(r"\d", m[0]) and is_time(heading_of(lines[:i][::-1], end, m.end()))
            new += line[end:m.start()] + ("…" if number else m[0])
            end = m.end()
        res.append(TIME.sub("…", new + line[end:]))
    return res


# --- what a cell shows ---
def from_html(source: str) -> str:
    "The tables in HTML as lines, with … in the columns of times; HTML without tables as its text."
    source = re.sub(r"(?s)<(style|script).*?</\1>", "", source)
    def text(o): return " ".join(html.unescape(re.sub("<[^>]*>", " ", o)).split())
    res, times = [], set()
    for row in re.findall(r"(?s)<tr.*?</tr>", source):
        cells = [text(o) for o in re.findall(r"(?s)<t[hd].*?</t[hd]>", row)]
        if "<td" not in row: times |= {i for i, o in enumerate(cells) if is_time(o)}
        else: cells = ["…" if i in times else o for i, o in enumerate(cells)]
        res.append("  ".join(cells))
    return "\n".join(res) or text(source)


def text_of(cell) -> str:
    "What the outputs of `cell` show, with a word in place of each picture."
    res = ""
    for o in cell.outputs:
        data = o.get("data", {})
        if o.output_type == "stream": res += o.text
        elif o.output_type == "error": res += f"{o.ename}: {o.evalue}\n"
        elif "text/html" in data: res += from_html(data["text/html"]) + "\n"
        elif any(k.startswith("image") for k in data): res += "[picture]\n"
        else: res += data.get("text/plain", "") + "\n"
    return re.sub(r" at 0x[0-9a-f]+(?=>)|\x1b\[[\d;]*m", "", res)


def pictures_of(cell) -> list:
    "The pictures that a cell shows, an animation's frames among them."
    codes = []
    for o in cell.outputs:
        data = o.get("data", {})
        codes += [data[k] for k in ("image/png", "image/jpeg") if k in data]
        codes += re.findall(r"data:image/(?:png|jpeg);base64,([\w+/=\\\s]+)", data.get("text/html", ""))
    return [Image.open(io.BytesIO(base64.b64decode(o.replace("\\", "")))) for o in codes]


# --- do two runs agree? ---
def near(
    a: str, b: str,  # two numbers as they are printed
) -> bool:
    "Do two printed numbers agree, within 0.2 percent or one in the last digit? Whole numbers count something: equal."
    if a == b: return True
    if not re.search(r"[.e]", a + b): return False
    x, y = (float(o.replace(",", "").rstrip(",")) for o in (a, b))
    digits = len(re.sub("e.*", "", a).partition(".")[2])
    return abs(x - y) <= max(0.002*abs(x), 1.01*10**-digits if "e" not in a else 0, 1e-5)


def agree(
    a: str, b: str,  # two lines
) -> bool:
    "Do two lines have the same words, and numbers that are near?"
    parts_a, parts_b = NUMBER.split(a), NUMBER.split(b)
    if len(parts_a) != len(parts_b): return False
    return all(near(x, y) if i % 2 else x.split() == y.split() for i, (x, y) in enumerate(zip(parts_a, parts_b)))


def difference(
    a: Image.Image, b: Image.Image,
    most: float = 3.,  # this much of 255, on average over all pixels, is taken for the same
) -> str:  # empty if they look the same
    "How two pictures differ, in words."
    if a.size != b.size: return f"the picture was {a.size[0]}×{a.size[1]} pixels, and is {b.size[0]}×{b.size[1]}"
    means = ImageStat.Stat(ImageChops.difference(a.convert("RGB"), b.convert("RGB"))).mean
    mean = sum(means)/len(means)
    return f"the picture changed: by {mean:.1f} of 255 a pixel, on average" if mean >= most else ""


def compare(
    stored, fresh,  # code cells with the same source, before and after a run
) -> list:  # of lines that say what differs; empty if they agree
    "Do the outputs of two runs of a cell agree?"
    a, b = masked(text_of(stored)), masked(text_of(fresh))
    varies = re.search(r"^#\| varies", stored.source, re.M)
    if varies: a, b = ([NUMBER.sub("…", x) for x in o] for o in (a, b))
    b = [x if agree(x, y) else y for x, y in zip(a, b)] + b[len(a):]
    res = list(difflib.unified_diff(a, b, lineterm="", n=1))[3:]
    if varies or res: return res
    olds, news = pictures_of(stored), pictures_of(fresh)
    if len(olds) != len(news): return [f"it showed {len(olds)} pictures, and shows {len(news)}"]
    return list(filter(None, map(difference, olds, news)))[:1]


def compare_notebooks(
    stored, fresh,  # the same notebook before and after a run, as nbformat reads it
) -> dict:  # cell id -> a readable difference, for each cell whose outputs do not agree
    "Compare what two runs of a notebook show."
    res = {}
    for old, new in zip(stored.cells, fresh.cells):
        found = compare(old, new) if old.cell_type == "code" else []
        if found: res[old.id] = "\n".join([f"cell {old.id}: {old.source.strip().splitlines()[-1][:80]}", *found, ""])
    return res


# --- the seal ---
def processor() -> str:
    "The name of the processor of this machine."
    try: names = re.findall(r"model name\s*: (.*)", open("/proc/cpuinfo", encoding="utf-8").read())
    except OSError: names = []
    return names[0] if names else platform.processor() or platform.machine()


def about_this_run(
    data: str,  # the name of the data
    flags: str,  # the flags under which cells ran
) -> dict:
    "What the outputs of a run depend on."
    res = dict(data=data, flags=flags, processor=processor(), cores=os.cpu_count(), python=platform.python_version())
    return res | {o: version(o) for o in ("torch", "numpy", "matplotlib")}


def digest(
    nb,  # notebook, as nbformat reads it
    about: dict,  # the run that its outputs are from
) -> str:
    "A hash over the run and the ids, sources and outputs of the code cells; prose may change without a new run."
    cells = [[o.id, o.source, o.outputs] for o in nb.cells if o.cell_type == "code"]
    return hashlib.sha256(json.dumps([about, cells], sort_keys=True).encode()).hexdigest()


def seal(
    nb,  # notebook, as nbformat reads it; changed in place
    about: dict,  # the run that its outputs are from
):
    "Write into a notebook which run its outputs are from."
    nb.metadata["run"] = about | {"sha256": digest(nb, about)}


def seal_fault(
    nb,  # notebook, as nbformat reads it
) -> str:  # what is wrong, or the empty string
    "Are all outputs of a notebook from the one run that it names, and its sources those that ran?"
    about = dict(nb.metadata.get("run", {}))
    if not about: return "its outputs are from no run that is on record" if any(o.get("outputs") for o in nb.cells) else ""
    if about.pop("sha256", None) == digest(nb, about): return ""
    return "code or outputs were changed after the run that it names"
