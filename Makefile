# `make run` and `make test` work in a fresh checkout. `make help` lists everything.

.DEFAULT_GOAL := help
.PHONY: run test check lint format bench ramp chaos soak images env wheel lock clean help bootstrap

# Arguments for the command of a target: make test ARGS="-k claim", make run ARGS="--help"
ARGS ?=

# A deployment's settings, under which Django's warnings fail `check`. It does not connect to the database.
PRODUCTION = DAEMON_SECRET_KEY="$$(.venv/bin/python -c 'import secrets; print(secrets.token_urlsafe(48))')" \
	DAEMON_ALLOWED_HOSTS=tasks.example.org DAEMON_TLS=true \
	DATABASE_URL=postgres://taskdaemon@127.0.0.1:5432/taskdaemon

# `exec` makes the daemon make's own child, so that signals reach it.
run: ## start the daemon: web server and one worker, on SQLite and without a broker
	@bin/bootstrap run && exec .venv/bin/python manage.py up $(ARGS)

test: ## run the tests; those that use the database also on PostgreSQL if it answers
	@bin/bootstrap && exec .venv/bin/python bin/test.py $(ARGS)

check: bootstrap ## lint, types, imports, migrations, deployment settings
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy
	.venv/bin/lint-imports --no-logo
	.venv/bin/python -m deptry .
	cd client && ../.venv/bin/python -m deptry . && ../.venv/bin/lint-imports --no-logo pyproject.toml
	.venv/bin/python manage.py makemigrations --check --dry-run
	$(PRODUCTION) .venv/bin/python manage.py check --deploy --fail-level WARNING

lint: check ## the same as check

format: bootstrap ## format the sources
	.venv/bin/python -m ruff check --fix --quiet .
	.venv/bin/python -m ruff format .

bench: ## compare with eight other task queues (ARGS="--quick", ARGS="drain --n 4", ARGS="--help")
	@bin/bootstrap bench && exec .venv-bench/bin/python -m bench $(ARGS)

ramp: ## post 84,000 prime tasks in 8 minutes, 100 to 250 a second; none may fail (ARGS="--seconds 3")
	@bin/bootstrap && exec .venv/bin/python -m bench.ramp $(ARGS)

chaos: ## inject faults into a deployment under load for a minute, and check every promise (ARGS="--help")
	@bin/bootstrap && exec .venv/bin/python -m tests.chaos $(ARGS)

soak: ## the same for 30 minutes and 50,000 tasks; nothing may grow
	@bin/bootstrap && exec .venv/bin/python -m tests.chaos --soak $(ARGS)

images: ## build the example handlers' Docker images, for examples/docker/handlers.toml
	@for file in examples/handlers/*/Dockerfile; do \
		folder=$${file%/Dockerfile}; name=localhost/taskdaemon/$${folder##*/}; \
		echo "$$name"; docker build --quiet --tag "$$name" $(ARGS) "$$folder" >/dev/null || exit 1; \
	done

env: ## write .env for compose.yaml: secrets, the Docker socket's group (ARGS="rabbitmq monitoring")
	@sh bin/env $(ARGS)

wheel: bootstrap ## write the wheel of this version to dist/
	.venv/bin/python -m hatchling build -t wheel

# For the oldest supported Python, whichever version runs uv.
COMPILE = uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url \
	--no-emit-find-links --quiet pyproject.toml

lock: ## update the lock files from pyproject.toml (needs uv)
	$(COMPILE) --group dev -o requirements.lock $(ARGS)
	$(COMPILE) --group dev --group bench --constraint requirements.lock -o requirements-bench.lock $(ARGS)
	$(COMPILE) --group run --constraint requirements.lock -o requirements-run.lock $(ARGS)
	$(COMPILE) --constraint requirements.lock -o requirements-image.lock $(ARGS)
	$(COMPILE:pyproject.toml=--group build) --constraint requirements.lock -o requirements-build.lock $(ARGS)

clean: ## remove .venv, .venv-bench, .bench and tools' caches; the daemon's files (var/) stay
	rm -rf .venv .venv-bench .bench .venv.lock .venv.lock.d build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

bootstrap:
	@bin/bootstrap
