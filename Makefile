# Each target first sets up .venv if need be. Needed: Python, Git and GNU make (on Windows, in Git Bash).
SHELL := bash
# UTF-8 on Windows too:
export PYTHONUTF8 := 1
# A relative MNIST_PATH is meant from here, and the notebooks run in nbs:
MNIST_FROM_HERE := case "$$MNIST_PATH" in ""|embedded|/*|?:*|"~"*) ;; *) export MNIST_PATH="$$PWD/$$MNIST_PATH";; esac;

ifeq ($(OS),Windows_NT)
  PYTHON ?= python
  BIN := .venv/Scripts
else
  PYTHON ?= python3
  BIN := .venv/bin
endif
NBS ?= $(sort $(wildcard nbs/*.ipynb))
INTO ?= .

.PHONY: help run test outputs check-outputs bench lab docs readme clean

help:  ## this list
	@sed -nE 's/^([a-z-]+):.*## /make \1	/p' Makefile

run: .venv/.ready  ## train every model of the book and compare them (make run ARGS="--digits 2,4"; ARGS=--help lists the options)
	@$(BIN)/mnist-ladder $(ARGS)

# One process for each notebook, one after another, because notebooks measure time. nbdev-test says "Success." only
# when it ran something, so a notebook that is not there counts as failed.
test: .venv/.ready  ## run the notebooks as tests (make test NBS=nbs/00_tensors.ipynb; FLAGS=cuda runs those cells too)
	@$(MNIST_FROM_HERE) trap 'exit 130' INT; passed=0; failed=0; \
	for nb in $(NBS); do \
	  start=$$SECONDS; \
	  if $(BIN)/nbdev-test $$nb --flags "$(FLAGS)" | grep '^Success' > /dev/null; \
	  then result=ok; passed=$$((passed + 1)); else result=FAILED; failed=$$((failed + 1)); fi; \
	  echo "$$nb: $$((SECONDS - start)) s, $$result"; \
	done; \
	echo "$$passed passed, $$failed failed"; \
	[ $$passed -gt 0 ] && [ $$failed -eq 0 ]

# In a Jupyter kernel, where test uses nbdev's. Both need MNIST.
OUTPUTS = $(MNIST_FROM_HERE) $(BIN)/python -c 'import sys; from mnist_from_scratch.publishing import outputs; \
  sys.exit(not outputs("$(NBS)".split(), flags="$(FLAGS)", store=$(1)))'

outputs: .venv/.ready  ## run the notebooks and store what they show now (NBS and FLAGS as for test)
	@$(call OUTPUTS,True)

check-outputs: .venv/.ready  ## run the notebooks and compare what they show with what is stored
	@$(call OUTPUTS,False)

bench: .venv/.ready  ## measure ours beside fastai, plain PyTorch and the bare arithmetic (ARGS="--rounds 3 --out folder")
	@$(MNIST_FROM_HERE) $(BIN)/mnist-bench $(ARGS)

lab: .venv/.ready  ## open the notebooks in JupyterLab, which saves them clean
	@$(MNIST_FROM_HERE) $(BIN)/jupyter-lab --ContentsManager.pre_save_hook=nbdev.clean.clean_jupyter --LabApp.default_url=/lab/tree/nbs

docs: .venv/.ready  ## build the site in _docs (needs Quarto)
	@command -v quarto > /dev/null || { echo "make docs needs Quarto: https://quarto.org/docs/get-started/"; exit 1; }
	@$(BIN)/python -c 'from mnist_from_scratch.publishing import write_reference; write_reference("nbs")'
	@$(BIN)/nbdev-docs

# Notebooks without hidden cells and nbdev directives, their links seen from here instead of from nbs/.
readme: .venv/.ready  ## make README.md and CONTRIBUTING.md from nbs/index.ipynb and nbs/contributing.ipynb
	@set -o pipefail; for doc in index:README contributing:CONTRIBUTING; do new="$(INTO)/$${doc#*:}.md"; \
	  $(BIN)/jupyter-nbconvert --log-level=WARN --to markdown --stdout nbs/$${doc%:*}.ipynb \
	  --RegexRemovePreprocessor.patterns='(#\|.*\n)*#\|\s*hide\b' \
	| sed -E -e '/^#\|/d' -e 's~(\]\(|(src|href)=")(images/|[0-9]+_[a-z_]+\.ipynb)~\1nbs/\3~g' -e 's~\]\(contributing.ipynb~](CONTRIBUTING.md~g' -e 's~(\]\(|(src|href)=")\.\./~\1~g' \
	| awk '/^```/ { open = !open; if (open && $$0 == "```") $$0 = "```python" } 1' | cat -s > "$$new.new" && mv "$$new.new" "$$new" || exit 1; done

clean:  ## remove what was built; .venv and downloaded data stay
	rm -rf _docs _proc nbs/reference build dist *.egg-info .hypothesis
	find . -name .venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# Made again when these files change. The stamp comes last, so an interrupted set-up goes on where it stopped.
.venv/.ready: settings.ini pyproject.toml setup.py
	@echo "Setting up .venv; the first time this takes some minutes and some GB (PyTorch, fastai, JupyterLab)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]" || \
	  { echo "Not finished: run make again, or delete .venv and name another Python, as in: make run PYTHON=python3.12"; exit 1; }
	@touch $@
