"Hands what settings.ini says to setuptools; everything else is in pyproject.toml."
from configparser import ConfigParser
from setuptools import setup

ini = ConfigParser()
ini.read("settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]
def lines(key): return cfg[key].strip().splitlines()

setup(version=cfg["version"], install_requires=lines("requirements"), extras_require={"dev": lines("dev_requirements")},
      entry_points={group: lines(group) for group in ("console_scripts", "nbdev")})
