"""The Celery application: it carries bells, never tasks."""

import os

from celery import Celery
from click import Option

from tasks_app.broker.celery_settings import celery_settings
from tasks_app.conf import environment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taskdaemon_site.settings")
# A Celery worker would run all of Django's checks, import the whole API for them, and pay no heed to what they say.
# The node asks for what it needs, and stops the worker where it is wrong.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("taskdaemon_site")
app.conf.update(celery_settings(environment().broker_url, environment().home))
app.conf.include = ["tasks_app.worker"]
# Here and not beside the node that takes it: the command line is read before `include` is.
app.user_options["worker"].add(
    Option(("--handler",), multiple=True, help="Serve only this handler (may be given several times).")
)
# Threads of the web server have no current app of their own.
app.set_default()
