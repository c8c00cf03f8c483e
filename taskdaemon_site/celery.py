"""The Celery application: it carries bells, never tasks."""

import os

from celery import Celery

from tasks_app.broker.celery_settings import celery_settings
from tasks_app.conf import environment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "taskdaemon_site.settings")

app = Celery("taskdaemon_site")
app.conf.update(celery_settings(environment().broker_url, environment().home))
app.conf.include = ["tasks_app.worker"]
# Threads of the web server have no current app of their own.
app.set_default()
