# make run      set up what is missing, then export this host on http://127.0.0.1:19177/ (ARGS="show --format xml" for another command)
# make test     set up what is missing, then test (ARGS="tests/exporter -k sentence" for some of it)
# make test-live SUITE=trixie     compare with that Debian suite's libvirt, byte for byte; as root, unpacked into LIVE_ROOT
# make test-xen VARIANT=pv       boot a real Xen (pv, hvm, vtd, pciback or all) and scrape the exporter in its dom0; as root, XEN_ROOT
# make test-systemd              boot a Debian, install the service in it and look; as root, some 1.5 GB in GUEST_ROOT
# make test-container            build docs/container's image onto two bases, run and scrape it; as root, some 2 GB in CONTAINER_ROOT
# make lint     formatting, lint, types
# make picture  take docs/page.png anew, of this host; needs chromium
# make pictures draw docs/dashboard-*.png anew, from a simulated fleet; needs chromium, and takes some minutes
# make bench    what a probe and a scrape cost, and serving beside nginx and others; some minutes
# make soak     an hour of changes, scrapes and killed probes (ARGS="--minutes 10"): does anything grow? As root
# make scale    what a fleet costs a real Prometheus (some 50 minutes; ARGS="live --hosts 300" for some of it), see docs/scale.md
# make lock     renew requirements/ from pyproject.toml (needs uv)
# make clean    forget the virtual environment and the caches

PYTHON ?= python3
ARGS ?=
SUITE ?= trixie
VARIANT ?= all
GUEST_ROOT ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/domcaps-exporter/guest
XEN_ROOT ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/domcaps-exporter/xen
CONTAINER_ROOT ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/domcaps-exporter/container
LIVE_ROOT ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/domcaps-exporter/$(SUITE)
BIN = .venv/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url \
	--no-emit-find-links

# where it is set (images set it), each of the some hundred processes of the tests would compile everything anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-live test-xen test-systemd test-container lint picture pictures bench soak scale lock clean

run: .venv/ready
	@.setup/hypervisor
	@exec $(BIN)/domcaps-exporter $(ARGS)

# four workers for two cores: much of what the tests take is waiting, for deadlines that are tested and for servers that start
test: .venv/ready-to-test
	@.setup/hypervisor
	@.setup/prometheus
	@.setup/schema
	@PATH="$$PATH:$$PWD/.venv/prometheus/usr/bin" exec $(BIN)/python -m pytest -n 4 --dist loadfile $(ARGS)

test-live:
	@.setup/suite $(SUITE) "$(LIVE_ROOT)"
	@exec $(PYTHON) -m tests.live.suites "$(LIVE_ROOT)"

test-systemd: .venv/ready-to-test
	@.setup/guest "$(GUEST_ROOT)" $(BIN)/python
	@DOMCAPS_GUEST="$(GUEST_ROOT)" exec $(BIN)/python -m pytest tests/systemd $(ARGS)

test-xen: .venv/ready-to-test
	@.setup/xen "$(XEN_ROOT)" $(BIN)/python
	@DOMCAPS_XEN="$(XEN_ROOT)" DOMCAPS_XEN_VARIANT="$(VARIANT)" exec $(BIN)/python -m pytest tests/xen $(ARGS)

test-container: .venv/ready-to-test
	@.setup/prometheus
	@.setup/container "$(CONTAINER_ROOT)" $(BIN)/python
	@DOMCAPS_CONTAINER="$(CONTAINER_ROOT)" PATH="$$PATH:$$PWD/.venv/prometheus/usr/bin" exec $(BIN)/python -m pytest tests/container $(ARGS)

lint: .venv/ready-to-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

picture: .venv/ready-to-test
	@exec $(BIN)/python -m tests.tools.picture docs/page.png

pictures: .venv/ready-to-test
	@.setup/hypervisor
	@.setup/prometheus
	@PATH="$$PATH:$$PWD/.venv/prometheus/usr/bin" exec $(BIN)/python -m tests.dashboards.pictures docs

bench: .venv/ready-to-test
	@.setup/hypervisor
	@.setup/bench
	@$(BIN)/python -m tests.bench.probe $(ARGS)
	@exec $(BIN)/python -m tests.bench.serving

soak: .venv/ready-to-test
	@.setup/hypervisor
	@exec $(BIN)/python -m tests.soak $(ARGS)

scale: .venv/ready-to-test
	@.setup/prometheus
	@PATH="$$PATH:$$PWD/.venv/prometheus/usr/bin" exec nice -n 10 $(BIN)/python -m tests.bench.scale $(ARGS)

lock:
	$(COMPILE) pyproject.toml -o requirements/run.txt
	$(COMPILE) pyproject.toml --group test --group lint --group dashboards -o requirements/test.txt
	echo 'hatchling>=1.26' | $(COMPILE) - -o requirements/build.txt
	echo kubernetes-validate | $(COMPILE) - -o requirements/schemas.txt

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	find exporter plugins tests -name __pycache__ -prune -exec rm -rf {} +

.venv/ready: pyproject.toml requirements/run.txt requirements/build.txt
	@.setup/venv $(PYTHON)
	@echo "Installing into .venv" >&2
	@$(PIP) --require-hashes -r requirements/build.txt
	@$(PIP) --require-hashes -r requirements/run.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/ready-to-test: .venv/ready requirements/test.txt
	@echo "Installing what the tests need into .venv" >&2
	@$(PIP) --require-hashes -r requirements/test.txt
	@touch $@
