# Signet. `make help` lists what there is.
GO       ?= go
BIN      := bin
PROGRAMS := $(patsubst %/main.go,./%,$(wildcard */cmd/*/main.go))
LDFLAGS  := -s -w
AGENT    := ./agent/cmd/signet-agent
AGENTNAME ?= signet-agent
# A device has less memory than time, and nearly all of its agent's file is in memory.
# So it is built without inlining outside the runtime and cryptography's inner loops
# (RSA's are bigmod's): that is 6% of its size for a few percent of a login's time. And
# without HTTP/2, which nothing in it speaks: 16 kB of its size.
SMALL    := -tags nethttpomithttp2 -gcflags=all=-l -gcflags=runtime= -gcflags='crypto/internal/fips140/...=' -gcflags='crypto/internal/fips140/rsa=-l'
# And with Go's earlier garbage collector, while there is one: of a heap as small as this
# one it takes 0.15 MiB less, and its code is 49 kB smaller.
COLLECTOR := $(shell GOEXPERIMENT=nogreenteagc $(GO) env GOEXPERIMENT 2>/dev/null)
# On amd64 Go begins each function at 32 bytes; 16, as on arm64, saves 86 kB of padding.
PACKED    = $(if $(filter amd64,$(shell $(GO) env GOARCH)),-funcalign=16)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 30s
TESTTIME ?= 20m
TESTFLAGS ?=
BOARDS   ?= arm64 armv7 mipsle

export CGO_ENABLED ?= 0

.PHONY: all
all: build vet test ## build, vet and test

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: build
build: ## build all programs into bin/
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ $(filter-out $(AGENT),$(PROGRAMS))
	@$(MAKE) --no-print-directory agent

.PHONY: agent
agent: ## build signet-agent alone, as small as it gets
	@mkdir -p $(BIN)
	GOEXPERIMENT=$(COLLECTOR) $(GO) build $(SMALL) -trimpath -ldflags '$(LDFLAGS) $(PACKED)' -o $(BIN)/$(AGENTNAME) $(AGENT)

.PHONY: vet
vet: ## go vet and gofmt
	@test -z "$$(gofmt -l .)" || { echo 'not gofmt-ed:'; gofmt -l .; exit 1; }
	$(GO) vet ./...

.PHONY: staticcheck
staticcheck: ## staticcheck, at a pinned version
	$(GO) run $(STATICCHECK) ./...

.PHONY: vulncheck
vulncheck: ## known vulnerabilities that the programs reach; says so when it could not look
	@sh test/vulncheck/vulncheck.sh

.PHONY: test
test: build ## every test there is; installs what they need and lack
	@sh test/setup.sh test
	$(GO) test $(TESTFLAGS) -timeout $(TESTTIME) ./...

.PHONY: demo
demo: ## the five-minute tour, by itself
	@bash test/demo/demo.sh

# Not those that watch programs of their own, which are built without the detector.
RACELESS := /test/(bench|flood|interop|kill|planted|power)$$
.PHONY: race
race: ## the tests under the race detector
	@sh test/setup.sh race
	CGO_ENABLED=1 $(GO) test -race -short -vet=off -skip '^TestScripts$$' $$($(GO) list ./... | grep -vE '$(RACELESS)')

.PHONY: planted
planted: ## every planted bug, or BUGS=..., must turn its tests red
	@$(GO) run ./test/planted $(PLANTED) $(BUGS)

.PHONY: bench
bench: ## the figures, as ratios to floors measured in the same run
	@sh test/bench/run.sh

.PHONY: bench-mqtt
bench-mqtt: ## the MQTT server beside Mosquitto and a minimal Go server; FULL=1 with 10,000 devices and more
	@sh test/setup.sh bench
	@sh test/bench/run.sh mqtt

.PHONY: bench-pair
bench-pair: ## an authentication and a verification against those of the commit BASE, in turns
	@sh test/bench/pair.sh $(or $(BASE),HEAD~1)

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME, 30s; 6/ shares six minutes among all
	@sh test/fuzz.sh '$(FUZZTIME)'

.PHONY: mqtt-judge
mqtt-judge: ## the MQTT server against raw packet sequences: COLLECTION=folder of *.json, as Mosquitto's test/broker/data
	$(GO) run ./test/mqttjudge -collection '$(COLLECTION)'

.PHONY: long
long: ## the long forms, for a night: more kills, more simulated worlds, more fuzzing, the figures
	SIGNET_KILL_ROUNDS=1000 SIGNET_SIM_SEEDS=20000 SIGNET_FLOOD_TIME=60s $(MAKE) test TESTTIME=3h
	$(MAKE) planted
	$(MAKE) sizes
	FRESH=1 sh .ci/reproducible
	$(MAKE) fuzz FUZZTIME=5m
	$(MAKE) bench

.PHONY: cross
cross: $(addprefix cross-,$(BOARDS)) ## the agent for small boards
cross-arm64: export GOARCH := arm64
cross-armv7: export GOARCH := arm
cross-armv7: export GOARM := 7
cross-mipsle: export GOARCH := mipsle
cross-mipsle: export GOMIPS := softfloat
cross-%:
	@GOOS=linux $(MAKE) --no-print-directory agent AGENTNAME=signet-agent-$*

.PHONY: sizes
sizes: build cross ## sizes of the programs and the agent's idle memory
	@sh test/bench/sizes.sh $(BIN)

.PHONY: man
man: ## manual pages of the programs, into bin/man
	$(GO) run ./test/manual $(BIN)/man

.PHONY: release
release: ## archives, bills of materials and checksums of the checked-out commit, into dist/
	@sh .ci/release dist

.PHONY: reproducible
reproducible: ## two releases of the commit, made in different folders, are equal
	@sh .ci/reproducible linux/amd64

.PHONY: clean
clean: ## remove what make made
	rm -rf $(BIN) dist
