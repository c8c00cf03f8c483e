"""Django's settings, all of them derived from the typed environment (`tasks_app.conf`)."""

import logging
from datetime import timedelta
from typing import Any

import dj_database_url

from tasks_app.conf import PROJECT, environment
from tasks_app.logs import logging_settings
from tasks_app.signing_key import signing_key

ENV = environment()

BASE_DIR = PROJECT
DEBUG = False
SECRET_KEY = signing_key(ENV)
ALLOWED_HOSTS = ENV.hosts

ROOT_URLCONF = "taskdaemon_site.urls"
WSGI_APPLICATION = "taskdaemon_site.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_prometheus",
    "axes",
    "tasks_app.apps.TasksConfig",
]

MIDDLEWARE = [
    "tasks_app.api.meter.Meter",
    "tasks_app.api.gate.Gate",
    "tasks_app.api.bearer.Bearer",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "tasks_app.admin.policy.PagePolicy",
    "axes.middleware.AxesMiddleware",  # last: it answers instead of a login that is locked out
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# SQLite: without IMMEDIATE a transaction that reads and then writes fails at once with "database is locked";
# without FULL a commit can be lost in a power cut.
_SQLITE: dict[str, Any] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": (
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16000"
    ),
}
# PostgreSQL: what the server ends by itself, in milliseconds. The last is for a process of ours that was stopped in the
# middle of a transaction: the rows that it has locked are wanted by others. What a server that does not live any more
# cannot end, our side of the connection does (tasks_app.postgresql).
_LIMITS = {"statement_timeout": 10_000, "lock_timeout": 10_000, "idle_in_transaction_session_timeout": 10_000}
_POSTGRESQL: dict[str, Any] = {
    "connect_timeout": 3,
    "options": " ".join(f"-c {name}={value}" for name, value in _LIMITS.items()),
    # An idle connection to a host that is gone: noticed after 20 s, and not when it is wanted.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}

DATABASES: dict[str, Any] = {
    "default": (
        dj_database_url.parse(ENV.database_url)
        if ENV.database_url
        else {"ENGINE": "django.db.backends.sqlite3", "NAME": str(ENV.database_file)}
    )
}
_DB = DATABASES["default"]
_LITE = _DB["ENGINE"].endswith("sqlite3")
_DB.setdefault("OPTIONS", {}).update(_SQLITE if _LITE else _POSTGRESQL)
if not _LITE:
    _DB["ENGINE"] = "tasks_app.postgresql"
    # Whatever the server's own default is.
    _DB["TEST"] = {"CHARSET": "UTF8", "TEMPLATE": "template0"}
_DB["CONN_MAX_AGE"] = None if _LITE else 60
_DB["CONN_HEALTH_CHECKS"] = not _LITE
if _LITE:
    # A file, not memory: the suite tests what several connections do to each other.
    _DB["TEST"] = {"NAME": f"{_DB['NAME']}.test"}

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
USE_I18N = False

STATIC_URL = "/static/"
STATIC_ROOT = ENV.static_root or ENV.home / "static"
# Served from the installed packages, so that nothing has to be collected before the first start; unless it has been.
WHITENOISE_USE_FINDERS = ENV.static_root is None
WHITENOISE_AUTOREFRESH = False

AUTH_PASSWORD_VALIDATORS = [{"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"}]
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
# Passwords are guessed by machines: five wrong ones lock this user out from this address, for a while.
AXES_FAILURE_LIMIT = 5
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_COOLOFF_TIME = timedelta(minutes=15)
# Knocking at a locked door does not lock it for longer, so the time that the answer names is true.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_CALLABLE = "tasks_app.admin.lockout.locked_out"
AXES_USERNAME_CALLABLE = "tasks_app.admin.lockout.tried_name"
# The connection's own address: whoever knocks can write any X-Forwarded-For.
AXES_IPWARE_META_PRECEDENCE_ORDER = ["REMOTE_ADDR"]
AXES_VERBOSE = False

SESSION_COOKIE_NAME = "taskdaemon_session"
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_NAME = "taskdaemon_csrf"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
APPEND_SLASH = False
CSRF_TRUSTED_ORIGINS = ENV.origins
CSRF_FAILURE_VIEW = "tasks_app.urls.csrf_failure"
# The gate's limit, by address, is what holds; this one has to let pass what may be the largest.
DATA_UPLOAD_MAX_MEMORY_SIZE = ENV.body_limit("/queue/batch")
# The admin's list can show, and its form then select, 1,000 rows at once; Django's default would refuse the form.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2_000
# Behind a proxy that speaks TLS.
if ENV.tls:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^health", r"^metrics$"]
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["tasks_app.api.renderers.CompactJSON"],
    "DEFAULT_PARSER_CLASSES": ["tasks_app.api.parsers.StrictJSON"],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "tasks_app.api.errors.exception_handler",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Task platform for containers",
    "DESCRIPTION": "Post a task; a warm container runs it; read the result.",
    "VERSION": "0.1.0",
    "LICENSE": {"name": "MIT"},
    # Relative: whatever name this machine is called by.
    "SERVERS": [{"url": "/", "description": "The daemon that serves this document."}],
    "TAGS": [
        {"name": "tasks", "description": "Queue, read, list, delete, redrive."},
        {"name": "system", "description": "Health and metrics of the whole system."},
    ],
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "tasks_app.api.schema.whole",
    ],
    "ENUM_NAME_OVERRIDES": {
        "TaskStatus": "tasks_app.models.Status",
    },
}

#: How containers come to be: a dotted path, as Django's CACHES are. It is called with a runner.engine.Owner.
ENGINE = "tasks_app.runner.engines.EngineByHandler"

#: The Celery application, for the command that starts a worker.
CELERY_APP = "taskdaemon_site.celery.app"

LOGGING_CONFIG = None
logging_settings(ENV.log_level)
# Five lines a login, all of which its tables have; warnings tell of locks.
logging.getLogger("axes").setLevel(logging.WARNING)
