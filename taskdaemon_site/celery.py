"""The Celery application: it carries notifications, never tasks."""

import os

from celery import Celery
from click import Option

from tasks_app.broker.celery_settings import celery_settings
from tasks_app.conf import environment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taskdaemon_site.settings")
# A Celery worker would run all of Django's checks, import the whole API for them, and ignore their result. The node
# checks what it needs, and stops the worker if something is wrong.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("taskdaemon_site")
app.conf.update(celery_settings(environment().broker_url, environment().home))
app.conf.include = ["tasks_app.node.bootstep"]
# Here and not in the bootstep that takes it: Celery parses the command line before it imports `include`.
app.user_options["worker"].add(
    Option(("--handler",), multiple=True, help="Serve only this handler (may be given several times).")
)
# Otherwise other threads, such as the web server's, have no current app.
app.set_default()
