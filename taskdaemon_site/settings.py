"""Django's settings, derived from the typed environment (`tasks_app.conf`)."""

import logging
from datetime import timedelta

from tasks_app.conf import RELEASE, environment
from tasks_app.conf.environment import CODE
from tasks_app.conf.logging import configure_logging
from tasks_app.conf.reading import signing_key
from tasks_app.queue.settings import database_settings

ENV = environment()

DEBUG = False
SECRET_KEY = signing_key(ENV)
# The key before this one. Its sessions stay valid and are signed with the new key at their next request.
SECRET_KEY_FALLBACKS = [ENV.secret_key_fallback] if ENV.secret_key_fallback else []
ALLOWED_HOSTS = ENV.hosts

ROOT_URLCONF = "taskdaemon_site.urls"
WSGI_APPLICATION = "taskdaemon_site.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "tasks_app.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "axes",
    "tasks_app.apps.TasksConfig",
    "tasks_app.features.pauses.Pauses",
    "tasks_app.features.drains.Drains",
    "tasks_app.features.schedules.Schedules",
    "tasks_app.features.callbacks.Callbacks",
    "tasks_app.features.limits.Limits",
    "tasks_app.features.operations.Operations",
    "tasks_app.features.failures.Failures",
    "tasks_app.features.history.History",
    "tasks_app.features.alerts.Alerts",
    "tasks_app.features.events.Events",
    "tasks_app.features.keys.Keys",
    "tasks_app.features.audit.Audit",
    "tasks_app.features.retention.Retention",
    "tasks_app.features.why.Why",
    "tasks_app.features.exports.Exports",
]

MIDDLEWARE = [
    "tasks_app.web.http_metrics.HttpMetrics",
    "tasks_app.admin.pages.PagePolicy",
    "tasks_app.web.admin_failures.AdminFailures",
    "tasks_app.web.request_guard.RequestGuard",
    *(["corsheaders.middleware.CorsMiddleware"] if ENV.origins else []),
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",  # last: it replaces the answer to a login that is locked out
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Before the apps' own: templates of the admin with the same names replace Django's.
        "DIRS": [CODE / "tasks_app" / "templates"],
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

DATABASES = {"default": database_settings(ENV.database_url, ENV.database_file)}

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
USE_I18N = False
FORMAT_MODULE_PATH = "taskdaemon_site.formats"

STATIC_URL = "/static/"
STATIC_ROOT = ENV.static_root or ENV.home / "static"
# Without DAEMON_STATIC_ROOT, files come from the installed packages: a first start needs no collectstatic.
WHITENOISE_USE_FINDERS = ENV.static_root is None
WHITENOISE_AUTOREFRESH = False

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{kind}Validator"}
    for kind in ("MinimumLength", "UserAttributeSimilarity", "CommonPassword", "NumericPassword")
]
# Where a login ends whose `next` leads to another site.
LOGIN_REDIRECT_URL = "admin:index"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
# Five wrong passwords lock a user out from that address for AXES_COOLOFF_TIME.
AXES_FAILURE_LIMIT = 5
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
# Also locks out an address that tries many users, and slows down logins of a user that many addresses try.
AXES_HANDLER = "tasks_app.admin.logins.LoginLimits"
AXES_COOLOFF_TIME = timedelta(minutes=15)
# Attempts during a lockout do not extend it, so the answer names the right time.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_CALLABLE = "tasks_app.admin.logins.locked_out"
AXES_USERNAME_CALLABLE = "tasks_app.admin.logins.tried_name"
AXES_CLIENT_IP_CALLABLE = "tasks_app.admin.logins.login_address"
AXES_VERBOSE = False
# Log lines have the address, but not the name: it may be a password that was typed into the wrong field. axes keeps
# what wrong logins send, and what a change of a password sends.
AXES_SENSITIVE_PARAMETERS = ["username", "old_password", "new_password1", "new_password2"]

SESSION_COOKIE_NAME = "taskdaemon_session"
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_NAME = "taskdaemon_csrf"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
APPEND_SLASH = False
CSRF_FAILURE_VIEW = "tasks_app.urls.csrf_failure"
# For the API alone: the admin, which has cookies and forms, trusts no origin but its own (CSRF_TRUSTED_ORIGINS).
CORS_ALLOWED_ORIGINS = ENV.origins
CORS_URLS_REGEX = r"^/(?!admin/)"
CORS_ALLOW_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]
CORS_ALLOW_HEADERS = ["authorization", "content-type", "idempotency-key", "if-none-match", "last-event-id", "prefer"]
CORS_EXPOSE_HEADERS = [
    "ETag", "Idempotent-Replayed", "Link", "Location", "Next-Cursor", "Preference-Applied", "RateLimit",
    "RateLimit-Policy", "Retry-After", "WWW-Authenticate",
]  # fmt: skip
CORS_PREFLIGHT_MAX_AGE = 600
# The RSGI server enforces the limit of each address; Django's must allow the largest of them.
DATA_UPLOAD_MAX_MEMORY_SIZE = ENV.body_limit("/queue/batch")
# The admin's list can show and select 1,000 rows at once, more fields than Django's default allows.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2_000
# Behind a proxy that terminates TLS.
if ENV.tls:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^health", r"^metrics/?$"]
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["tasks_app.api.errors.CompactJSON"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "tasks_app.api.errors.exception_handler",
}
#: The order of the calls in the OpenAPI document, which is that of docs/api.md.
API_ORDER = [
    "/queue", "/queue/batch",
    "/api/tasks/{task_id}", "/api/tasks/{task_id}/why", "/api/tasks/{task_id}/events", "/api/tasks/{task_id}/attempts",
    "/api/tasks/{task_id}/callbacks", "/api/tasks/{task_id}/callbacks/retry",
    "/api/tasks", "/api/tasks/{task_id}/cancel", "/api/tasks/{task_id}/redrive",
    "/api/tasks/{task_id}/priority",
    "/api/tasks/redrive", "/api/tasks/cancel", "/api/tasks/delete", "/api/tasks/priority", "/api/callbacks/retry",
    "/api/callbacks/give-up",
    "/api/operations", "/api/operations/{operation_id}", "/api/operations/{operation_id}/abort",
    "/api/schedules", "/api/schedules/{name}", "/api/schedules/{name}/firings", "/api/schedules/{name}/pause",
    "/api/schedules/{name}/resume", "/api/schedules/{name}/run",
    "/api/handlers", "/api/handlers/{type}", "/api/handlers/{type}/pause", "/api/handlers/{type}/resume",
    "/api/handlers/{type}/limit-keys",
    "/api/nodes", "/api/nodes/{name}", "/api/nodes/{name}/drain", "/api/nodes/{name}/undrain",
    "/health", "/health/live", "/health/ready", "/metrics", "/api/metrics",
]  # fmt: skip
SPECTACULAR_SETTINGS = {
    "TITLE": "Task platform for containers",
    "DESCRIPTION": "Post a task; a warm container runs it; read the result.",
    "VERSION": RELEASE,
    "LICENSE": {"name": "MIT", "identifier": "MIT"},
    # Relative: valid under any host name.
    "SERVERS": [{"url": "/", "description": "The daemon that serves this document."}],
    "TAGS": [
        {"name": "tasks", "description": "Queue, read, list, delete, redrive."},
        {"name": "operations", "description": "Redrive, cancel or delete all tasks that match a filter."},
        {"name": "schedules", "description": "Tasks that are made at their times: cron lines and intervals."},
        {"name": "handlers", "description": "What runs tasks: limits, slots, rates."},
        {"name": "nodes", "description": "Worker processes: what each serves and runs, and its drains."},
        {"name": "system", "description": "Health and metrics of the whole system."},
    ],
    # 3.1 has `null` as a type. Generators for 3.0 ignore `nullable` without a flag.
    "OAS_VERSION": "3.1.0",
    "SORT_OPERATIONS": "tasks_app.api.document.place",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "tasks_app.api.document.complete",
    ],
    "ENUM_NAME_OVERRIDES": {
        "TaskStatus": "tasks_app.queue.models.Status",
    },
}

#: The container engine: a dotted path to a callable that takes a runner.engine.Owner.
ENGINE = "tasks_app.runner.engines.EngineByHandler"

#: The Celery application that the worker command starts.
CELERY_APP = "taskdaemon_site.celery.app"

LOGGING_CONFIG = None
configure_logging(ENV.log_level)
# Below warning, axes logs five lines per login, which its tables have too. Warnings report lockouts.
logging.getLogger("axes").setLevel(logging.WARNING)
