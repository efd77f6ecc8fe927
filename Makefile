# Everything here needs Go, git and make; `make test` installs the rest.

BIN      := bin/arca
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME  ?= 3s
SIZES     ?= 1000,10000,100000,500000
SCALE_DIR ?= /var/tmp/arca-scale

# The packages that work with approved cryptography alone. etcd does not, and what stands
# on it is tested in FIPS mode instead.
PURE := $(addprefix ./internal/,api/... arn envelope policy schedule sigv4 wire)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
ERRCHECK    := github.com/kisielk/errcheck@v1.30.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.DEFAULT_GOAL := help
.PHONY: help build run test test-deps test-go test-long fips build-fips build-pkcs11 fuzz format-check bench bench-check bench-tree bench-scale generate lint vulncheck clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-13s %s\n", $$1, $$2 }'

build: ## build bin/arca
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o $(BIN) ./cmd/arca

build-fips: ## build bin/arca-fips: Go's certified FIPS 140-3 module, in FIPS mode unless told otherwise
	GOFIPS140=certified CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o $(BIN)-fips ./cmd/arca

build-pkcs11: ## build bin/arca-pkcs11, which can keep its root key in a PKCS#11 token (needs a C compiler)
	CGO_ENABLED=1 go build -tags pkcs11 -trimpath -ldflags '-X main.version=$(VERSION)' -o $(BIN)-pkcs11 ./cmd/arca

run: build ## build and start a development server that shows a first secret; Ctrl-C ends it
	$(BIN) dev --welcome

test: test-deps format-check test-go fuzz ## install what the tests need (apt, npm) and run all of them

test-deps: ## install what the tests need, or say what is missing
	scripts/test-deps.sh

test-go:
	go vet ./...
	go test -race -count=1 -timeout 20m ./...
	go vet -tags pkcs11 ./internal/rootkey ./internal/app
	go test -tags pkcs11 -race -count=1 -run PKCS11 ./internal/rootkey ./internal/app
	go test -race -count=1 -exec 'env GODEBUG=fips140=only' $(PURE)
	CGO_ENABLED=0 go test -trimpath -count=1 -run Alloc $(addprefix ./internal/,access api app audit policy sigv4 store)

test-long: ## the fault tests with as many kills and rotations as the docs speak of (an hour or so)
	go test -count=1 -timeout 3h ./faulttest -long

fips: ## the whole suite in FIPS mode with Go's certified module, the pure packages with it alone
	GOFIPS140=certified go test -count=1 -timeout 40m ./...
	GOFIPS140=certified go test -count=1 -exec 'env GODEBUG=fips140=only' $(PURE)

fuzz: ## run every fuzz target for FUZZTIME (3s)
	scripts/fuzz.sh $(FUZZTIME)

bench: build ## measure Arca beside what bounds it and its peers; writes docs/performance.md and bench/recorded.json (6 minutes)
	go build -o $(BIN)-bench ./bench
	$(BIN)-bench -arca $(BIN) -record bench/recorded.json -doc docs/performance.md

bench-check: build ## fail if Arca lost against what bounds it since bench/recorded.json was written, beyond noise
	go build -o $(BIN)-bench ./bench
	$(BIN)-bench -arca $(BIN) -check bench/recorded.json -length 600ms

bench-tree: build ## measure what the Merkle tree over the audit log costs
	CGO_ENABLED=0 go build -tags bench_notree -trimpath -o $(BIN)-bench-notree ./cmd/arca
	go build -o $(BIN)-bench ./bench
	$(BIN)-bench -arca $(BIN) -tree -no-tree $(BIN)-bench-notree -rounds 7

bench-scale: build ## measure Arca with SIZES secrets beside the smallest of them; SCALE_DIR keeps the data (hours, some 10 GB)
	go build -o $(BIN)-bench ./bench
	$(BIN)-bench -arca $(BIN) -scale $(SIZES) -scale-dir $(SCALE_DIR) -doc docs/performance.md

generate: ## write the generated code of internal/api anew
	go generate ./...

format-check:
	@unformatted=$$(gofmt -l $$(go list -f '{{.Dir}}' ./...)); \
	if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi

lint: format-check ## gofmt, go vet, staticcheck, errcheck (fetched by go run)
	go vet ./...
	go run $(STATICCHECK) ./...
	go run $(ERRCHECK) -ignoretests -exclude scripts/errcheck-exclude.txt ./...

vulncheck: ## look for known vulnerabilities in what is used (needs the Go vulnerability database)
	go run $(GOVULNCHECK) ./...

clean: ## remove what was built and installed below this folder
	rm -rf bin .tools conformance/js/node_modules conformance/js/runtime/node_modules
