# make demo and make test need only Python >= 3.10; everything else comes into .venv by itself.

PYTHON ?= python3
# Test processes at a time; 0 runs the tests in one process, as a debugger needs.
JOBS ?= 2
# More arguments for pytest, such as ARGS="-k conv -x".
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
TYPES := build/types

.PHONY: help demo test lint types bench clean distclean

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1@\2/p' Makefile | awk -F@ '{ printf "%-16s%s\n", $$1, $$2 }'

demo: $(VENV)/staticnet-all  ## Train the small digits network, export it and draw it
	$(BIN)/python examples/digits_cnn.py

test: $(VENV)/staticnet-dev  ## Run the tests (JOBS=0: in one process; ARGS: for pytest; STATICNET_SWEEP=full: all cases)
	$(BIN)/pytest -q -n $(JOBS) --dist worksteal $(ARGS)

lint: $(VENV)/staticnet-dev  ## Check the style of the source
	$(BIN)/ruff check .

# In the tree the package is four folders; only an installed copy shows mypy one.
types: $(VENV)/staticnet-dev  ## Check the types of the package as it is installed
	rm -rf build
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation --target $(TYPES) .
	cd $(TYPES) && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p staticnet

bench: $(VENV)/staticnet-all  ## Time staticnet beside its peers, those that are installed
	$(BIN)/python -m benchmarks $(ARGS)

clean:  ## Remove what was built and cached
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean  ## Remove .venv as well
	rm -rf $(VENV)

# The stamps lie inside .venv and go with it.
$(VENV)/staticnet-all: pyproject.toml
	@$(call install,all)

$(VENV)/staticnet-dev: pyproject.toml
	@$(call install,all$(comma)dev)

comma := ,

define install
$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "staticnet needs Python 3.10 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }; \
	$(PYTHON) -m venv $(VENV) || exit 1; \
}; \
echo "installing staticnet[$(1)] into $(VENV), a minute or two the first time" >&2; \
$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[$(1)]' && touch $@
endef
