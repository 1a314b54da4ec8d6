# cairn: `make up` for a cloud, `make test` for the whole test suite; each installs what it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOSTS ?= 2
NODES ?=
STAMP := $(VENV)/.installed
WHEELS := $(VENV)/share/cairn/wheels
# Tests that need no lab are spread over all processors, one by one; those that need one follow, alone: there is one lab.
SPREAD := -n auto --dist worksteal
# Tests of whole clouds run on SQLite and on MariaDB.
ON_MARIADB := CAIRN_TEST_DATABASE=mariadb
# Of the generated tests of workflows those that end a node or go through: the others do the same with the database.
ON_BOTH := not (failure_at_each or undo_that_fails or killed_again or waits_for_the_resource or run_that_fails)

# What a management node needs on a Debian 12 machine; lab hosts share these, so the packages of KVM hosts are among them. The last
# line is for several nodes: broker, database and proxy, which tests and `make up` start by themselves, and what the database's client
# is built with.
PACKAGES := python3 python3-venv openssh-client sshpass iproute2 iputils-ping nftables procps util-linux mount \
	openssh-server qemu-system-x86 qemu-utils libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients \
	python3-libvirt dnsmasq-base \
	busybox-static cpio syslinux syslinux-common mtools dosfstools parted \
	rabbitmq-server mariadb-server gcc pkgconf python3-dev libmariadb-dev haproxy
# What Debian starts when it installs one of these, package:unit; it is stopped again: tests and `make up` start their own.
NOT_STARTED := mariadb-server:mariadb.service rabbitmq-server:rabbitmq-server.service rabbitmq-server:epmd.socket rabbitmq-server:epmd.service \
	haproxy:haproxy.service

.PHONY: help
help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: packages
packages: ## install missing Debian packages (as root; otherwise it says which are missing)
	@missing=""; for p in $(PACKAGES); do \
	  [ "$$(dpkg-query -W -f='$${Status}' $$p 2>/dev/null)" = "install ok installed" ] || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" != 0 ]; then \
	    echo "These Debian packages are missing:$$missing"; \
	    echo "Install them as root for real hosts; a simulated cloud (bin: cairn up --simulated) does without."; \
	  else \
	    echo "Installing$$missing"; \
	    log=$$(mktemp); export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
	    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; } >$$log 2>&1 \
	      || { cat $$log; exit 1; }; rm -f $$log; \
	    for pair in $(NOT_STARTED); do case " $$missing " in *" $${pair%%:*} "*) \
	      if command -v systemctl >/dev/null; then systemctl --quiet disable --now $${pair#*:} 2>/dev/null || true; fi;; \
	    esac; done; \
	  fi; \
	fi

$(STAMP): pyproject.toml
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# The agents' wheels carry the package itself, so they are made again whenever a source changes.
$(WHEELS)/.built: $(STAMP) $(shell find src/cairn -type f -not -name '*.pyc')
	@$(BIN)/cairn wheels build --output $(WHEELS) >/dev/null
	@touch $@

.PHONY: setup
setup: packages $(STAMP) $(WHEELS)/.built ## only install: Debian packages, .venv, the agents' wheels

.PHONY: up
up: setup ## a cloud on a lab of real hosts on this machine, with a first VM (HOSTS=2 NODES=1)
	@$(BIN)/cairn up --hosts $(HOSTS) $(if $(NODES),--nodes $(NODES))

.PHONY: simulated
simulated: $(if $(NODES),packages) $(STAMP) ## a cloud on simulated hosts; needs no root (HOSTS=2 NODES=1)
	@$(BIN)/cairn up --simulated --hosts $(HOSTS) $(if $(NODES),--nodes $(NODES))

.PHONY: down
down: ## stop everything that `make up` started, and leave nothing behind
	@[ ! -x $(BIN)/cairn ] || $(BIN)/cairn down

.PHONY: lint
lint: $(STAMP) ## ruff and mypy
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary src tests tools examples

.PHONY: test
test: setup lint ## everything: lint, unit, workflow, integration and system tests
	@$(BIN)/pytest tests examples -m "not lab" $(SPREAD)
	@$(ON_MARIADB) $(BIN)/pytest tests/integration tests/flows -m "not lab" -k "$(ON_BOTH)" $(SPREAD)
	@$(BIN)/pytest tests examples -m lab

.PHONY: quick
quick: $(STAMP) ## the tests that need neither root nor QEMU
	@$(BIN)/pytest tests examples -m "not lab" $(SPREAD)

.PHONY: clean
clean: ## remove what was built
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
