# One image for all services: docker run IMAGE web | worker | migrate | ... (deploy/entrypoint lists the commands).
# Without access to PyPI: docs/deploy.md, "The image".

# Empty: wheels come from PyPI. To use a directory: docker build --build-context wheels=DIRECTORY
FROM scratch AS wheels

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
COPY requirements-image.lock requirements-build.lock /tmp/
# /opt/venv has the libraries, and finds the platform in /app/lib: a new revision changes only that layer. /opt/build makes
# the wheel, and stays behind. pip and translations are removed again: the image installs nothing, and has one language.
RUN --mount=type=bind,from=wheels,target=/wheels \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    set -eu; \
    if ls /wheels/*.whl >/dev/null 2>&1; then set -- --no-index --find-links /wheels; else set --; fi; \
    for lock in venv=image build=build; do \
        python3 -m venv "/opt/${lock%=*}"; \
        "/opt/${lock%=*}/bin/python" -m pip install -q --no-compile --require-hashes --only-binary :all: "$@" \
            -r "/tmp/requirements-${lock#*=}.lock"; \
    done; \
    /opt/venv/bin/python -m pip uninstall -q -y pip; \
    find /opt/venv \( -name '*.po' -o -name '*.mo' \) -delete; \
    echo /app/lib >"$(echo /opt/venv/lib/python3.*/site-packages)/platform.pth"; \
    /opt/venv/bin/python -m compileall -q /opt/venv/lib
WORKDIR /source
COPY . .
# Static files with their compressed copies; their sources are removed. `chmod`: a checkout under a umask of 077 must be
# readable for the image's user.
RUN set -eu; \
    python=/opt/venv/bin/python; \
    /opt/build/bin/python -m hatchling build -t wheel -d /tmp/wheel; \
    /opt/build/bin/python -m pip --python $python install -q --no-compile --no-deps --no-index --target /app/lib \
        /tmp/wheel/*.whl; \
    cp -r deploy handlers.toml LICENSE /app; \
    ln -s lib/taskdaemon_site/examples /app/examples; \
    cd /app; \
    DAEMON_HOME=/tmp/home DAEMON_STATIC_ROOT=/app/static $python -m taskdaemon_site collectstatic \
        --no-input --verbosity 0 --ignore "*.map"; \
    $python -m whitenoise.compress --quiet static; \
    rm -rf /tmp/home /opt/venv/lib/python*/site-packages/drf_spectacular_sidecar/static; \
    chmod +x deploy/entrypoint; \
    chmod -R a+rX /app; \
    $python -m compileall -q lib

FROM python:3.13-slim
# A user id that hosts do not assign. A new volume takes its owner and mode from this folder.
RUN set -eu; \
    echo 'taskdaemon:x:10001:10001::/var/lib/taskdaemon:/usr/sbin/nologin' >>/etc/passwd; \
    echo 'taskdaemon:x:10001:' >>/etc/group; \
    mkdir -p /var/lib/taskdaemon; \
    chown 10001:10001 /var/lib/taskdaemon; \
    chmod 0700 /var/lib/taskdaemon
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:/app/lib/bin:$PATH \
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
# deploy/health.py: the web server reaches its database; the worker has a heartbeat and reaches its Docker engine.
HEALTHCHECK --interval=5s --timeout=10s --start-period=180s --retries=4 CMD ["taskdaemon", "health"]
ENTRYPOINT ["taskdaemon"]
CMD ["help"]
# Last, so that a new revision rebuilds no layer.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Task platform for containers" \
    org.opencontainers.image.description="Post a task as JSON; a warm container runs it; the result is in its row." \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.base.name="docker.io/library/python:3.13-slim"
