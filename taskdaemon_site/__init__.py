"""How a deployment is put together; no behaviour."""

from taskdaemon_site.celery import app as celery_app

__all__ = ["celery_app"]
