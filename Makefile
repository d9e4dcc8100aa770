# Short names for what one types often. .ci/run is what must pass.
.PHONY: demo test fast lint e2e package docs

demo: ## a whole rotation against a tenant in memory
	go run ./cmd/rotate demo

test: ## what the README promises to work: needs Go and sh only
	go test ./...

fast: ## build, vet, lint and the short tests, with where the time went
	bash .ci/run fast

lint:
	go vet ./...
	go vet -tags e2e ./...
	golangci-lint run --build-tags e2e ./...

e2e: ## everything, as CI runs it: root, apt, Node.js; up to 50 minutes
	bash .ci/run

package: ## the .deb and the .rpm, in dist
	bash systemd/package dist

docs: ## the reference of settings, and the pictures of the page, which need Chromium
	go run ./cmd/rotate config reference >docs/configuration.md.new && mv docs/configuration.md.new docs/configuration.md
	bash docs/images/make
