# One image for every part: docker run IMAGE web | worker | migrate | ... (deploy/entrypoint has the words).
# Where PyPI is not to be had: docs/deploy.md, "Build the image".

# Empty, so that wheels come from PyPI. Those of a directory instead: docker build --build-context wheels=DIRECTORY
FROM scratch AS wheels

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY requirements-image.lock /tmp/
# pip puts itself into the environment, and is taken out of it again; so are translations, for there is one language.
RUN --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    set -eu; \
    if ls /wheels/*.whl >/dev/null 2>&1; then set -- --no-index --find-links /wheels; else set --; fi; \
    python3 -m venv /opt/venv; \
    /opt/venv/bin/python -m pip install -q --no-compile --require-hashes --only-binary :all: "$@" \
        -r /tmp/requirements-image.lock; \
    /opt/venv/bin/python -m pip uninstall -q -y pip; \
    find /opt/venv -name '*.po' -delete; \
    /opt/venv/bin/python -m compileall -q /opt/venv/lib
COPY . .
# Static files as they are served, each beside its compressed copy; their sources are not needed after that. What was
# checked out under a umask of 077 has to be read by another user in here.
RUN set -eu; \
    python=/opt/venv/bin/python; \
    DAEMON_HOME=/tmp/home DAEMON_STATIC_ROOT=/app/static $python manage.py collectstatic \
        --no-input --verbosity 0 --ignore "*.map"; \
    $python -m whitenoise.compress --quiet static; \
    rm -rf /tmp/home /opt/venv/lib/python*/site-packages/drf_spectacular_sidecar/static; \
    chmod +x deploy/entrypoint; \
    chmod -R a+rX /app; \
    $python -m compileall -q /app

FROM python:3.13-slim
# A number that hosts give to nobody. What a new volume has at its first use, it takes from here: owner and mode.
RUN set -eu; \
    echo 'taskdaemon:x:10001:10001::/var/lib/taskdaemon:/usr/sbin/nologin' >>/etc/passwd; \
    echo 'taskdaemon:x:10001:' >>/etc/group; \
    mkdir -p /var/lib/taskdaemon; \
    chown 10001:10001 /var/lib/taskdaemon; \
    chmod 0700 /var/lib/taskdaemon
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DAEMON_HOST=0.0.0.0 \
    DAEMON_HOME=/var/lib/taskdaemon \
    DAEMON_STATIC_ROOT=/app/static
RUN ln -s /app/deploy/entrypoint /usr/local/bin/taskdaemon
WORKDIR /app
USER 10001:10001
EXPOSE 8080
VOLUME /var/lib/taskdaemon
# A web server that reaches its database; a worker whose heart has beaten and that reaches its Docker engine.
HEALTHCHECK --interval=5s --timeout=10s --start-period=180s --retries=4 CMD ["taskdaemon", "health"]
ENTRYPOINT ["taskdaemon"]
CMD ["help"]
# Last, so that a new revision alone makes no layer anew.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Task platform for containers" \
    org.opencontainers.image.description="Post a task as JSON; a warm container runs it; the result is in its row." \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.base.name="docker.io/library/python:3.13-slim"
