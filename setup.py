"Hands the requirements in settings.ini to setuptools; all else is in pyproject.toml."
from configparser import ConfigParser

from setuptools import setup

ini = ConfigParser()
ini.read("settings.ini", encoding="utf-8")
def lines(key): return ini["DEFAULT"][key].strip().splitlines()

book = lines("book_requirements")
setup(install_requires=lines("requirements"), extras_require={"book": book, "dev": [*book, *lines("dev_requirements")]})
