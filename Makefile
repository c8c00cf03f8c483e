# The two commands are `make run` and `make test`; each works from nothing. The rest: `make help`.

.DEFAULT_GOAL := help
.PHONY: run test check lint format bench ramp chaos soak images env lock clean help bootstrap

# Further words for the command behind a target: make test ARGS="-k claim", make run ARGS="--help"
ARGS ?=

# What a deployment sets; a warning of Django's under it fails `check`. The database is not asked.
PRODUCTION = DAEMON_SECRET_KEY="$$(.venv/bin/python -c 'import secrets; print(secrets.token_urlsafe(48))')" \
	DAEMON_ALLOWED_HOSTS=tasks.example.org DAEMON_TLS=true \
	DATABASE_URL=postgres://taskdaemon@127.0.0.1:5432/taskdaemon

# `exec`, so that make's child is the daemon itself and a signal meets nothing between them.
run: ## start the daemon: web server and one worker, on SQLite and without a broker
	@bin/bootstrap && exec .venv/bin/python manage.py up $(ARGS)

test: ## run the tests, and those that touch the database on PostgreSQL too where one answers
	@bin/bootstrap && exec .venv/bin/python bin/test.py $(ARGS)

check: bootstrap ## everything that is checked without running a test
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy
	.venv/bin/lint-imports --no-logo
	.venv/bin/python -m deptry .
	.venv/bin/python manage.py makemigrations --check --dry-run
	$(PRODUCTION) .venv/bin/python manage.py check --deploy --fail-level WARNING

lint: check ## the same as check

format: bootstrap ## lay out the sources as `check` wants them
	.venv/bin/python -m ruff check --fix --quiet .
	.venv/bin/python -m ruff format .

bench: ## measure ours beside six bare task queues, in one run (ARGS="--quick", ARGS="drain --n 4", ARGS="--help")
	@bin/bootstrap bench && exec .venv-bench/bin/python -m bench $(ARGS)

ramp: ## prime tasks at 100 to 250 a second, 84,000 in 8 minutes: none may fail (ARGS="--seconds 3" for a short one)
	@bin/bootstrap && exec .venv/bin/python -m bench.ramp $(ARGS)

chaos: ## throw faults at a whole deployment under load for a minute, and check every promise (ARGS="--help")
	@bin/bootstrap && exec .venv/bin/python -m tests.chaos $(ARGS)

soak: ## the same for half an hour and 50,000 tasks with a fault every 30 s, and nothing may grow
	@bin/bootstrap && exec .venv/bin/python -m tests.chaos --soak $(ARGS)

images: ## build the example handlers' Docker images, for examples/docker/handlers.toml
	@for file in examples/handlers/*/Dockerfile; do \
		folder=$${file%/Dockerfile}; name=localhost/taskdaemon/$${folder##*/}; \
		echo "$$name"; docker build --quiet --tag "$$name" $(ARGS) "$$folder" >/dev/null || exit 1; \
	done

env: ## write .env for compose.yaml: secrets, the Docker socket's group (ARGS="rabbitmq monitoring")
	@sh bin/env $(ARGS)

# For the oldest Python that there may be, whichever one runs uv here.
COMPILE = uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url \
	--no-emit-find-links --quiet pyproject.toml

lock: ## write the lock files anew from pyproject.toml (needs uv)
	$(COMPILE) --group dev -o requirements.lock $(ARGS)
	$(COMPILE) --group dev --group bench --constraint requirements.lock -o requirements-bench.lock $(ARGS)
	$(COMPILE) --constraint requirements.lock -o requirements-image.lock $(ARGS)

clean: ## remove .venv, .venv-bench, .bench and what tools left; what the daemon wrote (var/) stays
	rm -rf .venv .venv-bench .bench .venv.lock .venv.lock.d build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

bootstrap:
	@bin/bootstrap
