# The only task runner. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Where rustup puts cargo, for shells that do not know it.
export PATH := $(PATH):$(HOME)/.cargo/bin

BIN := target/release/metabuilder
# The services as binaries of their own, for deployments of several processes.
SERVICE_BINS := -p orchestrator -p runner -p classifier -p autofixer -p flag-resolver -p metabuilder
# The version that the registry is asked for when buf is not installed.
BUF_PACKAGE := @bufbuild/buf@1.75.0

.PHONY: help demo test check lint fmt buf deny docs docs-metrics bench-telemetry proto bench-classifier bench-flags bench-gateway bench-orchestrator bench-autofix accuracy learn golden build deps simulate

help: ## Show what can be done.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Install what is missing, build, heal the demo project and show how (ends with exit code 3).
	@scripts/install-deps.sh
	@cargo build --release -p metabuilder
	@scripts/demo.sh $(BIN)

# Seeds of each mode that the simulation lives through; SEED=s repeats one.
SEEDS := 50000

simulate: ## Simulate crashes, pauses, lost messages and a failing store: make simulate SEEDS=50000, or SEED=7.
	SIM_SEEDS=$(SEEDS) $(if $(SEED),SIM_SEED=$(SEED)) cargo test --release -q -p orchestrator --test simulation -- --nocapture

test: ## Install what is missing and run every test.
	@scripts/install-deps.sh
	cargo test --workspace

check: fmt-check lint buf breaking deny workflows deploy-check test docs ## What CI runs.

.PHONY: fmt-check
fmt-check:
	cargo fmt --all --check

fmt: ## Format the code.
	cargo fmt --all

lint: ## Clippy, warnings are errors; shellcheck where it is installed.
	cargo clippy --workspace --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck scripts/*.sh tests/clients/*.sh .ci/run; \
	else echo "shellcheck is not installed: skipped"; fi

buf: ## Lint the contracts, with buf or through npx.
	@if command -v buf >/dev/null; then buf lint proto; \
	elif command -v npx >/dev/null && npx --yes $(BUF_PACKAGE) --version >/dev/null 2>&1; then \
		npx --yes $(BUF_PACKAGE) lint proto; \
	else echo "buf is neither installed nor to be had through npx: skipped"; fi

# Runs buf with the given arguments, installed or through npx; says so where there is neither.
define with_buf
	@if command -v buf >/dev/null; then buf $(1); \
	elif command -v npx >/dev/null && npx --yes $(BUF_PACKAGE) --version >/dev/null 2>&1; then \
		npx --yes $(BUF_PACKAGE) $(1); \
	else echo "buf is neither installed nor to be had through npx: skipped"; fi
endef

.PHONY: breaking image-proto
breaking: ## Hold the contracts against those of the last release (proto/image.binpb).
	$(call with_buf,breaking proto --against proto/image.binpb)

image-proto: ## Keep the present contracts as those of the last release (scripts/release.sh does for a final one).
	$(call with_buf,build proto --as-file-descriptor-set --exclude-source-info -o proto/image.binpb)

.PHONY: workflows
workflows: ## Lint the workflow files (actionlint, zizmor).
	@for tool in actionlint zizmor; do \
		code=0; path=$$(scripts/tool.sh $$tool) || code=$$?; \
		case $$tool$$code in \
			actionlint0) "$$path" .github/workflows/*.yml docs/examples/github-actions.yml ;; \
			zizmor0) "$$path" --quiet --offline --persona=pedantic .github ;; \
			*3) echo "$$tool: skipped" ;; \
			*) exit $$code ;; \
		esac; \
	done

.PHONY: deploy-check
deploy-check: ## Render the chart and hold every manifest against the schemas of Kubernetes; lint the Containerfile.
	@code=0; python=$$(scripts/tool.sh python) || code=$$?; \
	case $$code in 0) "$$python" scripts/check-deploy.py ;; 3) echo "the deployment's check: skipped" ;; *) exit $$code ;; esac
	@code=0; hadolint=$$(scripts/tool.sh hadolint) || code=$$?; \
	case $$code in 0) "$$hadolint" deploy/Containerfile ;; 3) echo "hadolint: skipped" ;; *) exit $$code ;; esac

.PHONY: images
images: ## Build every image without a container engine, start and stop each (root; buildah, debootstrap).
	cargo build $(SERVICE_BINS) -p gateway
	@code=0; scripts/test-images.sh --bin target/debug || code=$$?; \
	case $$code in 0) ;; 3) echo "images: skipped" ;; *) exit $$code ;; esac

.PHONY: generated
generated: ## Make the generated files again: docs/ERRORS.md, tests/golden/openapi.json.
	UPDATE_GOLDEN=1 cargo test -q -p gateway --test api
	UPDATE_GOLDEN=1 cargo test -q -p meta-tests --test delivery errors

.PHONY: smoke seed
smoke: ## Smoke tests: RUN_SMOKE=true (own server), or SMOKE_BASE_URL=... SMOKE_TOKEN=...
	cargo test -q -p meta-tests --test smoke

seed: ## Fill a server with something to look at: make seed URL=http://localhost:5001 (METABUILDER_TOKEN).
	@scripts/seed_staging_v3.sh $(URL)

.PHONY: rc ga
rc: ## Make a release candidate: make rc TAG=v1.4.0-rc1.
	@scripts/release.sh rc '$(TAG)'

ga: ## Promote the last candidate: make ga TAG=v1.4.0.
	@scripts/release.sh ga '$(TAG)'

deny: ## Licences, advisories and duplicates, where cargo-deny is installed.
	@if ! command -v cargo-deny >/dev/null; then echo "cargo-deny is not installed: skipped"; \
	elif [ ! -f deny.toml ]; then echo "there is no deny.toml: skipped"; \
	else cargo deny check bans licenses sources; fi

docs-metrics: ## Write docs/METRICS.md anew from the catalogue of metrics.
	UPDATE_GOLDEN=1 cargo test -q -p meta-tests --test telemetry reference

docs: ## Build the reference of all crates; warnings are errors.
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

proto: buf ## Lint the contracts and generate their code again.
	touch proto/build.rs
	cargo build -p meta-proto

build: ## Build the release binary.
	cargo build --release -p metabuilder

bench-classifier: ## Measure the classifier: speed, small logs, memory of a stream, hostile logs (JSON).
	@cargo run -q --release -p classifier --example bench

bench-flags: ## Time decisions about settings, remote and in process; prints JSON.
	@cargo bench --quiet -p meta-tests --bench flags

bench-gateway: ## Time requests through the gateway and directly, and weigh a thousand watchers; prints JSON.
	@cargo bench --quiet -p meta-tests --bench gateway

bench-orchestrator: ## Time runs of steps that do nothing, on SQLite and PostgreSQL; prints JSON.
	@cargo bench --quiet -p meta-tests --bench orchestrator

bench-telemetry: ## Compare a load with and without telemetry; prints JSON.
	@cargo bench --quiet -p meta-tests --bench orchestrator -- telemetry

bench-autofix: build ## Time what healing adds to the tools' own time; prints JSON.
	@scripts/bench-autofix.py --bin $(BIN)

.PHONY: chaos
chaos: ## Kill, stop and starve real processes, and check every promise: make chaos [FULL=1 [SHARE=percent]] [SEED=n] [DB=sqlite|postgres] [ONLY="c1 c2"].
	cargo build --release $(SERVICE_BINS)
	cargo build -p meta-chaos
	target/debug/meta-chaos $(ONLY) --bin $(BIN) --seed $(or $(SEED),1) $(if $(DB),--db $(DB)) $(if $(FULL),--full $(if $(SHARE),--share $(SHARE))) \
		$(if $(OTHER_BIN),--other-bin $(OTHER_BIN))

accuracy: ## Score the classifier on our labelled logs, or on a folder like them: make accuracy DIR=dir.
	@cargo run -q --release -p classifier --example accuracy -- $(DIR)

learn: ## Count anew on our labelled logs how far each rule can be trusted (services/classifier/learned.toml).
	@cargo run -q --release -p classifier --example accuracy -- --learn
	@$(MAKE) --no-print-directory golden

golden: ## Keep the present signals of our labelled logs as the expected ones; look at the diff.
	@cargo run -q --release -p classifier --example golden -- --update

deps: ## Install the system packages that are missing.
	scripts/install-deps.sh
