"""The words of columns in 0.1.0, and their common fields."""

from django.db import models

STATUSES = ["pending", "processing", "completed", "failed"]
REASONS = [
    "handler_error", "retries_exhausted", "timeout", "crash", "oom", "bad_reply", "worker_lost", "expired", "cancelled",
]  # fmt: skip
OUTCOMES = ["success", "error", "timeout", "crash", "oom", "bad_reply", "worker_lost", "released", "cancelled"]


def words(names):
    return [(name, name.replace("_", " ").title()) for name in names]


def auto_id():
    return models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")
