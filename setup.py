"Hands what settings.ini says to setuptools, and README.md with links that work outside of the repository."
import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

ini = ConfigParser()
ini.read("settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]
def lines(key): return cfg[key].strip().splitlines()

repo = re.search('Repository = "(.*)"', Path("pyproject.toml").read_text(encoding="utf-8"))[1]
readme = Path("README.md").read_text(encoding="utf-8")
readme = re.sub(r'(src="|!\[[^]]*\]\()(?!https?:)', rf"\1{repo}/raw/main/", readme)
readme = re.sub(r"\]\((?!https?:|#)", f"]({repo}/blob/main/", readme)

book = lines("book_requirements")
setup(version=cfg["version"], install_requires=lines("requirements"),
      extras_require={"book": book, "dev": [*book, *lines("dev_requirements")]},
      entry_points={group: lines(group) for group in ("console_scripts", "nbdev")},
      long_description=readme, long_description_content_type="text/markdown")
