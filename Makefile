# Everything here runs in .venv, which each target makes and fills as needed.
PYTHON ?= python3
VENV := .venv
VENV_USAGE := .venv-usage
VENV_FRAMEWORKS := .venv-frameworks
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE # the tests start many processes: each would compile everything again

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types unit coverage package test-all test-usage test-frameworks test-servers bench soak docs notebooks clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## a chain, a tool, documents, a batch and usage, with real models on this machine
	@$(BIN)/paradigm-local demo

test: lint types unit ## formatting, lint, types, unit and end-to-end tests

lint: $(VENV)/.installed-dev ## formatting and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(VENV)/.installed-dev ## format the code and fix what lint can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(VENV)/.installed-dev ## mypy, strict, over the packages
	$(BIN)/mypy

unit: $(VENV)/.installed-dev ## pytest on all cores
	$(BIN)/python -m pytest --numprocesses logical --dist worksteal

coverage: $(VENV)/.installed-dev ## the same with the lines and branches that no test reaches, half as long again
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses logical --dist worksteal
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

package: $(VENV)/.installed-dev ## build sdist and wheel into dist/, check them, and try them in clean environments
	$(BIN)/nox --session build installed typing

test-all: $(VENV)/.installed-dev ## the tests of the wheel on all Pythons with the lowest and newest frameworks, an hour or more
	$(BIN)/nox

test-servers: $(VENV)/.installed-dev ## the same suite against vLLM, llama-cpp-python and LiteLLM, several GB and half an hour at first
	$(BIN)/nox --session servers

bench: $(VENV)/.installed-bench ## compare the cost of a call and of a chunk with the floor and a peer; rate limits; half an hour
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.limits

soak: $(VENV)/.installed-dev ## 20,000 mixed calls against a server that fails in every way, a few minutes
	$(BIN)/python -m benchmarks.soak

docs: $(VENV)/.installed-dev ## build the site of the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "Open site/index.html, or with search: $(BIN)/python -m http.server --directory site 8080"

notebooks: $(VENV)/.installed-dev ## run the notebooks again and write their outputs
	$(BIN)/python -m notebooks

test-usage: $(VENV_USAGE)/.installed ## the usage matrix of docs/usage.md, with the real consumers
	$(VENV_USAGE)/bin/python -m pytest tests/usage

test-frameworks: $(VENV_FRAMEWORKS)/.installed ## CrewAI, pydantic-ai and others against the local Paradigm
	$(VENV_FRAMEWORKS)/bin/python -m pytest -W ignore tests/frameworks

clean: ## remove the environment and all that was built
	rm -rf $(VENV) $(VENV_USAGE) $(VENV_FRAMEWORKS) .nox build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*

$(VENV)/.pip:
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 10) and f"Python 3.10 or newer is needed, {v} was found: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.installed: $(VENV)/.pip pyproject.toml
	@echo "Installing paradigm-llm with LangChain, LlamaIndex and the local model's engine (a minute or two)"
	@$(BIN)/python -m pip install --quiet --editable '.[all]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the test tools"
	@$(BIN)/python -m pip install --quiet --group dev
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	@echo "Installing what the benchmark compares with"
	@$(BIN)/python -m pip install --quiet --group bench
	@touch $@

$(VENV_USAGE)/.installed: pyproject.toml
	@echo "Installing the consumers of usage into $(VENV_USAGE) (a few minutes)"
	@$(PYTHON) -m venv $(VENV_USAGE)
	@$(VENV_USAGE)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(VENV_USAGE)/bin/python -m pip install --quiet --editable '.[all]' --group consumers
	@touch $@

$(VENV_FRAMEWORKS)/.installed: pyproject.toml
	@echo "Installing other frameworks into $(VENV_FRAMEWORKS) (a few minutes)"
	@$(PYTHON) -m venv $(VENV_FRAMEWORKS)
	@$(VENV_FRAMEWORKS)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(VENV_FRAMEWORKS)/bin/python -m pip install --quiet --editable '.[all]' --group frameworks
	@touch $@
