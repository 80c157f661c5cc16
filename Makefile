# Copyright The molt Authors.
# SPDX-License-Identifier: Apache-2.0

# What a fresh Debian 12 with Go, git and make lacks is fetched by the targets that need it: Debian packages by
# integration/tools/deps.sh, pinned tools by integration/tools/build.sh. `make` alone explains the targets.

GO         ?= go
PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR    ?=
FUZZTIME   ?= 30s
SOAKTIME   ?= 1h
# A version can be given to builds that have no git history.
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

BIN   := bin
TOOLS := $(CURDIR)/.cache/tools
DEPS  := GO='$(GO)' integration/tools/deps.sh
BUILD := integration/tools/build.sh

PROGRAMS := containerd-molt-grpc moltctl
UNIT     := docs/systemd/containerd-molt-grpc.service
SAMPLE   := docs/config.toml

# The version is stamped by the linker; Go's own stamp would need a git checkout that git trusts.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)
GOBUILD  := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
GOTEST   := $(GO) test -race -timeout 15m
GO_PACKAGES = $(shell $(GO) list ./...)
GOFOLDERS = $(wildcard cmd dag integration servicing snapshotter)
PROTOS    = $(shell find snapshotter -name '*.proto' 2>/dev/null)
PROTOC    = PATH='$(TOOLS):$(PATH)' protoc -I . --go_opt=paths=source_relative --go-grpc_opt=paths=source_relative

.DEFAULT_GOAL := help
.SUFFIXES:
.PHONY: help deps deps-build deps-demo deps-test deps-debian deps-evidence deps-proto tools test-tools lint-tools proto-tools build test unit integration evidence crash soak failpoints sample-root \
	lint house proto check-proto demo demo-debian install uninstall fuzz clean need-root need-go

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##-- what is needed first

deps: ## Install every missing Debian package that any target needs (root only if something is missing)
	@$(DEPS) build test debian evidence proto

deps-build deps-demo deps-test deps-debian deps-evidence deps-proto: deps-%:
	@$(DEPS) $*

# Everything that is built needs this first: what an old Go says of go.mod names no remedy.
need-go:
	@integration/tools/go-version.sh '$(GO)'

tools: deps-build ## Build the pinned containerd, ctr, containerd-shim-runc-v2 and runc into .cache/tools
	@$(BUILD) $(TOOLS) containerd runc

test-tools: ## Build the pinned gotestsum, which shows the slowest tests, into .cache/tools
	@$(BUILD) $(TOOLS) gotestsum

lint-tools: ## Build the pinned golangci-lint into .cache/tools
	@$(BUILD) $(TOOLS) golangci-lint

proto-tools: deps-proto
	@$(BUILD) $(TOOLS) protoc

need-root:
	@test "$$(id -u)" -eq 0 || { echo 'This target needs root: it mounts overlay file systems, starts a private' \
		'containerd and runs containers. Run it with sudo; `make unit` mounts, but starts no containers.' >&2; exit 1; }

##-- build and test

build: need-go ## Build bin/containerd-molt-grpc and bin/moltctl
	$(GOBUILD) -o $(BIN)/ $(addprefix ./cmd/,$(PROGRAMS))

# MOLT_TEST_STRICT turns every skip for a missing tool or missing rights into a failure. Results are never taken from
# the cache: they depend on the kernel and on the tools, too.
# On a machine that is busy with other things a package may take long: nothing in the tests depends on how long.
test: need-root deps-build deps-test tools test-tools ## Run go vet and every test with the race detector, containers included (root, about a quarter of an hour)
	$(GO) vet ./...
	@mkdir -p .cache; result=0; \
	MOLT_TEST_STRICT=1 $(TOOLS)/gotestsum --format standard-quiet --jsonfile .cache/test.json -- \
		-race -timeout 90m -count=1 -tags failpoints ./... || result=$$?; \
	echo; echo 'the ten slowest tests:'; $(TOOLS)/gotestsum tool slowest --num 10 --jsonfile .cache/test.json; exit $$result

unit: deps-build ## Run the tests that start no containerd (as root: without root, those that mount are skipped)
	$(GO) vet ./...
	$(GOTEST) $(filter-out $(shell $(GO) list ./integration/...),$(GO_PACKAGES))

integration: need-root deps-build deps-test tools ## Run only the tests that drive a real containerd (root)
	MOLT_TEST_STRICT=1 $(GOTEST) -count=1 ./integration/...

evidence: need-root deps-build deps-evidence ## Compare the engine with ostree, and try it on real distributions, or on PACKAGES (git,vim less) there; only the tests of RUN (root, network, 1 hour)
	MOLT_EVIDENCE_UPGRADES=1 MOLT_EVIDENCE_TIES=1 MOLT_EVIDENCE_PACKAGES='$(PACKAGES)' $(GO) test -count=1 -v -timeout 120m -run '$(RUN)' ./integration/evidence

failpoints: ## List the moments of a change on disk at which tests let the process die
	@$(GO) doc -all ./snapshotter/failpoint | awk '/^const/,/^\)/'

crash: need-root deps-build deps-test ## Die at every failpoint, at random, at system calls, by power cuts: all of it (root, an hour)
	MOLT_CRASH=full MOLT_TEST_STRICT=1 $(GO) test -tags failpoints -count=1 -v -timeout 180m ./integration/crash

soak: need-root deps-build ## Random operations with crashes in between, against a model, for SOAKTIME (1h) (root)
	MOLT_SOAK=$(SOAKTIME) $(GO) test -count=1 -v -timeout 0 -run TestSoak ./integration/soak

sample-root: need-root deps-build ## Keep a state directory of this version as a sample that later ones must open, at SAMPLE_ROOT (root)
	@test -n "$(SAMPLE_ROOT)" || { echo 'give SAMPLE_ROOT=snapshotter/testdata/roots/schema-N.tar.zst' >&2; exit 1; }
	MOLT_MAKE_ROOT='$(abspath $(SAMPLE_ROOT))' $(GO) test -count=1 -run TestMakeRoot ./snapshotter

fuzz: deps-build ## Run every fuzz target for FUZZTIME (30s)
	@integration/tools/fuzz.sh $(FUZZTIME)

lint: lint-tools ## Check style, architecture and dependencies: gofmt, go vet, golangci-lint, go mod verify
	@bad=$$(gofmt -l $(GOFOLDERS)); test -z "$$bad" || { echo "not formatted (gofmt -w):"; echo "$$bad"; exit 1; } >&2
	$(GO) vet ./...
	$(TOOLS)/golangci-lint run --allow-parallel-runners ./...
	$(GO) mod verify
	cd integration/crash/blocklog && $(TOOLS)/golangci-lint run --allow-parallel-runners ./... && $(GO) mod verify

house: ## Print the shape of the code: the largest types, packages, functions and files, and arrows that run up
	@$(GO) run ./integration/house

##-- generated code

proto: proto-tools ## Generate Go code from the .proto files
	$(if $(PROTOS),$(PROTOC) --go_out=. --go-grpc_out=. $(PROTOS))

# The generator writes the version of protoc into a comment: that line alone may differ.
check-proto: proto-tools ## Check that the generated code is what the .proto files say
	@new=$$(mktemp -d) && trap 'rm -rf "$$new"' EXIT && \
	$(if $(PROTOS),$(PROTOC) --go_out="$$new" --go-grpc_out="$$new" $(PROTOS) &&) \
	cd "$$new" && find . -name '*.go' | while read -r f; do \
		diff -u -I '^// *-* *protoc ' "$(CURDIR)/$$f" "$$f" || { echo "$$f: run make proto" >&2; exit 1; }; \
	done

##-- see it work

demo: need-root deps-build deps-demo tools build ## Show an update and its rollback on a private containerd (root)
	@MOLT_BIN=$(CURDIR)/$(BIN) MOLT_TOOLS=$(TOOLS) integration/demo/demo.sh

demo-debian: need-root deps-build deps-demo deps-debian tools build ## The same on Debian images with a package update (root)
	@MOLT_BIN=$(CURDIR)/$(BIN) MOLT_TOOLS=$(TOOLS) integration/demo/debian.sh

##-- install

# A configuration that is there already is never overwritten; uninstall leaves it, and all data, alone.
install: build ## Install programs, systemd unit and sample configuration (DESTDIR, PREFIX, SYSCONFDIR)
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(addprefix $(BIN)/,$(PROGRAMS))
	@if [ -f $(UNIT) ]; then \
		install -d $(DESTDIR)$(PREFIX)/lib/systemd/system && \
		sed 's|/usr/local/bin/|$(PREFIX)/bin/|g' $(UNIT) >$(DESTDIR)$(PREFIX)/lib/systemd/system/$(notdir $(UNIT)); fi
	@if [ -f $(SAMPLE) ] && [ ! -e $(DESTDIR)$(SYSCONFDIR)/containerd-molt-grpc/config.toml ]; then \
		install -D -m 0600 $(SAMPLE) $(DESTDIR)$(SYSCONFDIR)/containerd-molt-grpc/config.toml; fi

uninstall: ## Remove what install put there, but neither configuration nor data
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/lib/systemd/system/$(notdir $(UNIT))

clean: ## Remove everything that was built, the pinned tools included
	rm -rf $(BIN) .cache coverage.out
