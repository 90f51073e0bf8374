# Names for the commands that are used every day. A target is one line; what needs more stands in scripts/.

.DEFAULT_GOAL := help
.PHONY: help demo test check bench bless docs install

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 16

demo: ## build, release, replace and roll back an image, here and now
	@scripts/demo.sh

test: ## run all tests
	@scripts/test.sh

check: ## format, lints, docs and file rules, as CI runs them
	@scripts/check.sh

bench: ## compare with peers on this machine (release build; some minutes)
	@scripts/bench.sh $(if $(ROWS),--rows $(ROWS)) $(if $(RUNS),--runs $(RUNS))

bless: ## accept what the tests produce now as goldens and generated pages
	@CAIRN_BLESS=1 INSTA_UPDATE=always cargo test --workspace --locked

docs: ## regenerate docs/cli.md and build the API documentation
	@CAIRN_BLESS=1 cargo test --quiet --locked -p cairn-tests -- docs && cargo doc --workspace --no-deps --locked

install: ## install cairn for this user
	@cargo install --path crates/cli --locked
