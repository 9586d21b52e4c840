# rexgate: build, test, lint. `make` alone lists the targets.

GO      ?= go
BIN     ?= bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PKG     ?= ./...
RUN     ?= .
FUZZTIME ?= 30s
FOR     ?= 10m
SEED    ?= 0
STORES  ?= SQLite|Redis
LEAST   ?= 1
LOAD    ?= fan-out --hosts 1000

.DEFAULT_GOAL := help
.PHONY: help build demo tools test test-quick lint fmt bench load fuzz web-libs faults away clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## static binaries into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN)/ ./cmd/...

demo: ## a gateway, three agents and one job on this machine
	$(GO) run ./cmd/rexgate demo

tools: ## install what the tests need (Debian packages, as root or through sudo; npm's for the browser)
	@.ci/tools

test: tools ## everything, with the race detector, on real parts; nothing may be skipped
	@.ci/test $(PKG)

test-quick: ## only what needs nothing but Go; says what it skipped
	$(GO) tool gotestsum --format pkgname -- -run '$(RUN)' $(PKG)

lint: ## formatting, vet, staticcheck
	@fmt=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$fmt" ]; then echo "not formatted by gofmt:"; echo "$$fmt"; exit 1; fi
	$(GO) vet $(PKG)
	$(GO) tool staticcheck $(PKG)

fmt: ## format all Go files
	gofmt -w $$(git ls-files '*.go')

bench: ## all benchmarks, each once; RUN=regexp to choose
	REXGATE_TEST_REQUIRE=1 $(GO) test -run '^$$' -bench '$(RUN)' -benchmem $(PKG)

load: ## a fleet of simulated hosts; LOAD='echo-sleep --hosts 300 --store redis' to choose, see docs/load.md
	@$(GO) build -o $(BIN)/ ./cmd/rexgate ./cmd/rexload
	$(BIN)/rexload run $(LOAD)

fuzz: ## each fuzz test for FUZZTIME
	@.ci/fuzz $(FUZZTIME)

web-libs: ## write web/static/lib anew from npm; web/refresh --check only compares
	web/refresh

faults: ## faults against real processes, as root, FOR so long on each of STORES; LEAST=n of each kind; LIGHT=n light hosts; SEED=n replays a schedule
	REXGATE_TEST_REQUIRE=1 $(GO) test -count=1 -v -timeout 0 -run '^Test($(STORES))$$' ./loadtest/faults -faults.for $(FOR) -faults.seed $(SEED) -faults.least $(LEAST) -faults.light $(LIGHT) -faults.race=false

away: ## the store away for FOR, in each of four ways, in the middle of scripts
	REXGATE_TEST_REQUIRE=1 $(GO) test -count=1 -v -timeout 0 -run '^TestStoreAway$$' ./cmd/e2e -away.for $(FOR)

clean: ## remove what was built
	rm -rf $(BIN)
