"""Writes versions for pip's `--constraint`, one line for each requirement in settings.ini.

    python -m tools.constraints oldest       the lower bounds, to test that they are true
    python -m tools.constraints installed    what is installed here: the versions behind the stored outputs
"""
import re, sys
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def requirements() -> dict:  # name -> lower bound
    "All requirements of the library, of the book and of its tests."
    ini = ConfigParser()
    ini.read(ROOT/"settings.ini", encoding="utf-8")
    lines = [line for text in ini["DEFAULT"].values() for line in text.strip().splitlines()]
    return dict(re.fullmatch(r"([\w-]+)>=([\w.]+)", line).groups() for line in lines)


def main(which: str):
    "Print the constraints, sorted by name."
    if which not in ("oldest", "installed"): sys.exit(__doc__)
    for name, bound in sorted(requirements().items(), key=lambda o: o[0].lower()):
        print(f"{name}=={bound if which == 'oldest' else version(name).split('+')[0]}")


if __name__ == "__main__": main(sys.argv[1] if sys.argv[1:] else "")
