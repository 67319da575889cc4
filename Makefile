# Everything is done by scripts/ and the go command; this file gives it names.
.DEFAULT_GOAL := help
.PHONY: help build demo test lint bench rotations soak fuzz mysql versions clean

ARGS ?=
FUZZTIME ?= 30s

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

build: ## bin/keyturn, one static program
	CGO_ENABLED=0 go build -trimpath -buildvcs=auto -o bin/keyturn ./cmd/keyturn

demo: ## the whole loop on this machine; ARGS='--for 20s' ends it by itself
	@scripts/demo.sh $(ARGS)

test: ## all tests with -race on real database servers; ARGS='./deploy -run X' for some
	@scripts/test.sh $(ARGS)

lint: ## format, vet, golangci-lint, govulncheck, go.mod
	@scripts/lint.sh

bench: ## requests per second beside bare net/http; ARGS=1000,1000000 for other numbers of secrets
	@KEYTURN_BENCH_SECRETS=$(ARGS) go test -run "^$$" -bench "^BenchmarkHTTP$$" -benchtime 1x -timeout 2h .

rotations: ## rotations per second beside what each database can do alone; a catch-up of 1,000
	@scripts/test.sh -race=false -timeout 1h -run '^$$' -bench '^Benchmark(Rotations|CatchUp)$$' -benchtime 1x .

soak: ## 200 rotations under load (KEYTURN_ROTATIONS=1000 for more) and 50 kills for each database and strategy
	@KEYTURN_ROTATIONS=$${KEYTURN_ROTATIONS:-200} KEYTURN_KILLS=50 scripts/test.sh -v -timeout 4h -run 'Killed|LoginsUnder' .

fuzz: ## every fuzz target, one after another; FUZZTIME=10m for longer
	@scripts/fuzz.sh $(FUZZTIME)

mysql: ## fetch a real MySQL server into the cache and print where it is
	@scripts/mysql.sh

versions: ## the engines' suite on further versions of the servers; ARGS='mariadb-11.8 postgres-18' for some
	@scripts/versions.sh $(ARGS)

clean: ## remove what was built; the MySQL cache stays
	rm -rf bin
