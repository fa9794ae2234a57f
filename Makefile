# Each target first sets up .venv if need be. Needed: Python, Git and GNU make (on Windows, in Git Bash).
SHELL := bash
# UTF-8 on Windows too:
export PYTHONUTF8 := 1
ifeq ($(OS),Windows_NT)
  PYTHON ?= python
  VENV_BIN := .venv/Scripts
else
  PYTHON ?= python3
  VENV_BIN := .venv/bin
endif
# With BIN=…, in another environment, which is ready.
BIN ?= $(VENV_BIN)
READY := $(if $(filter $(VENV_BIN),$(BIN)),.venv/.ready)
RUN = $(BIN)/python -m tools.notebooks
FLAGS_OF = $(if $(FLAGS),--flags "$(FLAGS)")

.PHONY: help run test outputs check-outputs bench lab docs readme size move clean

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*## /make \1	/p' Makefile

run: $(READY)  ## train every model of the book and compare them (make run ARGS="--digits 2,4"; ARGS=--help lists the options)
	@$(BIN)/mnist-ladder $(ARGS)

test: $(READY)  ## run all notebooks and tests, or some (NBS=nbs/00_tensors.ipynb, TESTS=tests/test_site.py, FLAGS=slow,cuda)
	@$(RUN) test $(NBS) $(TESTS) $(FLAGS_OF)

outputs: $(READY)  ## run the notebooks, slow cells too, and store what they show (NBS as for test; QUICK=1 leaves slow cells out)
	@$(RUN) store $(NBS) $(FLAGS_OF) $(if $(QUICK),--quick)

check-outputs: $(READY)  ## run the notebooks and compare what they show with what is stored (NBS and FLAGS as for test)
	@$(RUN) check $(NBS) $(FLAGS_OF)

bench: $(READY)  ## measure ours beside fastai, plain PyTorch and the bare arithmetic (ARGS="--rounds 3 --out folder")
	@$(BIN)/mnist-bench $(ARGS)

# A relative MNIST_PATH is meant from here, and the notebooks run in nbs.
lab: $(READY)  ## open the notebooks in JupyterLab, which saves them clean
	@case "$$MNIST_PATH" in ""|embedded|/*|?:*|"~"*) ;; *) export MNIST_PATH="$$PWD/$$MNIST_PATH";; esac; \
	$(BIN)/jupyter-lab --ContentsManager.pre_save_hook=nbdev.clean.clean_jupyter --LabApp.default_url=/lab/tree/nbs

docs: $(READY)  ## build the site in _docs (needs Quarto)
	@command -v quarto > /dev/null || { echo "make docs needs Quarto: https://quarto.org/docs/get-started/"; exit 1; }
	@$(BIN)/python -m tools.site

readme: $(READY)  ## make README.md and CONTRIBUTING.md from nbs/index.ipynb and nbs/contributing.ipynb
	@$(BIN)/python -m tools.readme

size: $(READY)  ## count the lines of code of each module
	@$(BIN)/python -m tools.size

move: $(READY)  ## move the book to another address: make move TO=https://github.com/you/book
	@$(BIN)/python -m tools.move $(TO)

clean:  ## remove what was built; .venv and downloaded data stay
	rm -rf _docs _proc nbs/reference build dist *.egg-info .hypothesis .pytest_cache
	find . -name .venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# Made again when these files change. The stamp comes last, so an interrupted set-up goes on where it stopped.
# With CONSTRAINTS=constraints.txt, in the versions behind the stored outputs.
.venv/.ready: settings.ini pyproject.toml setup.py $(CONSTRAINTS)
	@echo "Setting up .venv; the first time this takes some minutes and some GB (PyTorch, fastai, JupyterLab)"
	@$(PYTHON) -m venv .venv
	@$(VENV_BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) --editable ".[dev]" || \
	  { echo "Not finished: run make again, or delete .venv and name another Python, as in: make run PYTHON=python3.12"; exit 1; }
	@touch $@
