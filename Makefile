# make run    the whole system on this machine, at http://127.0.0.1:8000 (PORT=9000 make run)
# make test   all tests
# make soak   uploads without end, machines killed at random (MINUTES=60 make soak)
# make bench  speed, scale and cost, into docs/performance.md (make bench PARTS="fleet warm")
# make check  format, lint, types
# make format rewrite the code in the one format
# make clean  remove what the others made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run test soak bench check format clean

run: $(VENV)/run.stamp
	@exec $(BIN)/python -m local

test: $(VENV)/test.stamp
	@exec $(BIN)/python -m pytest $(ARGS)

soak: $(VENV)/test.stamp
	@exec $(BIN)/python -m tests.drills.soak

bench: $(VENV)/bench.stamp
	@exec $(BIN)/python -m bench $(PARTS)

check: $(VENV)/test.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/vermin --target=3.9- --no-tips --quiet jobs.py ec2_userdata
	bash -n ec2_userdata/*.sh .ci/run

format: $(VENV)/test.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# Either missing or a link to a Python that is gone: what depends on it is made anew.
$(BIN)/python: ;

# --clear, because what is there may be what an interrupted or refused run left, without pip.
$(VENV)/venv.stamp: $(BIN)/python
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Addendum needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
	         "Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/run.stamp: $(VENV)/venv.stamp requirements.txt requirements-local.txt constraints.txt ec2_userdata/requirements.txt
	@echo "Installing what 'make run' needs into $(VENV) (once, about a minute)"
	@$(PIP) install -r requirements-local.txt
	@$(BIN)/python -m infra.bundle
	@touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp requirements-test.txt
	@echo "Installing what 'make test' and 'make check' need into $(VENV) (once)"
	@$(PIP) install -r requirements-test.txt
	@touch $@

$(VENV)/bench.stamp: $(VENV)/test.stamp requirements-bench.txt
	@echo "Installing what 'make bench' needs into $(VENV) (once)"
	@$(PIP) install -r requirements-bench.txt
	@touch $@
