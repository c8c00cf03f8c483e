"""The table of costs."""

from django.db import models


class Approver(models.Model):
    """Who approves the cost of a task. No foreign key: a task is deleted without its row."""

    task = models.UUIDField(primary_key=True)
    name = models.TextField()

    class Meta:
        app_label = "tasks_app"
        db_table = "taskdaemon_approver"
