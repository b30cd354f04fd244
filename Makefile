GOLANGCI := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZ ?= 60s

run:            ## serve on the embedded defaults
	go run ./cmd/jarvis-gateway serve

build:          ## one static binary in bin/
	CGO_ENABLED=0 go build -trimpath -o bin/jarvis-gateway ./cmd/jarvis-gateway

test:           ## everything, with the race detector (needs a C compiler; else: go test ./...)
	bench/chdb/install
	go vet ./...
	go test -race $(TESTFLAGS) ./...

lint:           ## formatting and linters
	test -z "$$(gofmt -l $$(git ls-files '*.go'))"
	$(GOLANGCI) run --allow-parallel-runners

fuzz:           ## every fuzz target for FUZZ
	set -e; for p in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
		go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZ) $$p; done; done

bench:          ## the gateway against the bare fasthttp proxy; about 8 minutes
	go run ./bench/run

golden:         ## write expected outputs and the config's schema anew
	go test ./cmd/jarvis-gateway -update

.PHONY: run build test lint fuzz bench golden
