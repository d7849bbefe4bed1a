# `make quickstart` and `make test` do all the set-up they need. PYTHON chooses the interpreter, VENV the folder.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
PYTEST := $(RUN) -m pytest -n 2 --dist loadfile

.PHONY: quickstart test test-large test-all lint types docs benchmark clean

quickstart: $(VENV)/.installed
	$(RUN) experiments/run.py --flagfile=experiments/flags/photographs/quickstart.flags --run_dir=runs/quickstart

# The default tier, with lint and types. Collects first, in seconds: workers report a file that cannot be imported only at
# the end.
test: $(VENV)/.installed-dev lint types
	@$(RUN) -m pytest --collect-only -qq > $(VENV)/collected.txt || { cat $(VENV)/collected.txt; exit 1; }
	$(PYTEST) -m 'not slow'

# The large tier alone: all combinations of devices, precisions and kills, and runs from a built wheel.
test-large: $(VENV)/.installed-dev
	$(PYTEST) -m slow

test-all: test test-large

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.installed-dev
	$(VENV)/bin/mypy

# The index of recipes, docs/recipes.md, and the API reference from the docstrings of all public names, docs/api/index.html.
PUBLIC := losses analysis evaluation methods models views data training
docs: $(VENV)/.installed-docs
	$(RUN) docs/recipe_index.py
	$(RUN) -W 'ignore:Error parsing type annotation' -m pdoc --docformat google --output-directory docs/api \
	  ssl_jax $(addprefix ssl_jax.,$(PUBLIC)) '!ssl_jax\.\w+\.'

benchmark: $(VENV)/.installed
	$(RUN) benchmarks/throughput.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python requirements.txt pyproject.toml setup.py $(CONSTRAINTS)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e . $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[dev]' $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[docs]' $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
	touch $@

clean:
	rm -rf $(VENV) .cache build *.egg-info
