"""Counts the lines of code of each module, beside what it may have.

A line counts if it holds code: comments, empty lines and docstrings don't, nor does a line of a signature that is there
for the comment that documents a parameter. Those are reported apart, under "docs".
"""
import ast, io, sys, tokenize
from pathlib import Path

LIBRARY = Path(__file__).resolve().parent.parent/"mnist_from_scratch"
TAUGHT = dict(tensors=80, pixel_similarity=70, sgd=90, linear=90, mlp=50, learner=300, backprop=120, initialization=60,
              optimizers=120, ten_digits=50, convolutions=110, recipe=90, own_digits=90, saving=120)
APPENDICES = dict(data=190, ladder=300, benchmarks=190, exercises=80)
MOST_TAUGHT, MOST = 1500, 2500
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def count(source: str) -> tuple:  # lines of code, and lines of docstrings and documented parameters
    "Count the lines of a module."
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    code = {i for o in tokens if o.type not in NO_CODE for i in range(o.start[0], o.end[0] + 1)}
    comments = {o.start[0] for o in tokens if o.type == tokenize.COMMENT}
    docs = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)): continue
        first = node.body[0] if node.body else None
        if ast.get_docstring(node, clean=False) is not None: docs |= set(range(first.lineno, first.end_lineno + 1))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            docs |= set(range(node.lineno + 1, first.lineno)) & comments & code
    return len(code - docs), len(docs & code)


def sizes(
    folder: Path = LIBRARY,
) -> dict:  # module -> its lines of code, and its lines of documentation
    "The size of each module."
    return {o.stem: count(o.read_text(encoding="utf-8")) for o in sorted(folder.glob("[a-z]*.py"))}


def main():
    found = sizes()
    def row(name, lines, docs, most): print(f"{name:18}{lines:>6}{most or '':>8}{docs:>6}{'  over' if most and lines > most else ''}")
    def rows(part):
        for o in part: row(o, *found.get(o, ("–", "–")), part[o]) if o in found else print(f"{o:18}     –{part[o]:>8}")
        return sum(found[o][0] for o in part if o in found), sum(found[o][1] for o in part if o in found)
    print(f"{'module':18}{'lines':>6}{'at most':>8}{'docs':>6}")
    taught = rows(TAUGHT)
    row("taught, in all", *taught, MOST_TAUGHT)
    others = rows(APPENDICES | {o: 0 for o in found if o not in TAUGHT | APPENDICES})
    whole = [a + b for a, b in zip(taught, others)]
    row("the whole library", *whole, MOST)
    sys.exit(taught[0] > MOST_TAUGHT or whole[0] > MOST)


if __name__ == "__main__": main()
