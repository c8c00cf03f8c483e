"""The view of `rivals.drf`: the shortest Django REST framework view that stores a task and sends it to Celery."""

from __future__ import annotations

import os
import uuid

import dj_database_url
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application

settings.configure(
    DATABASES={"default": dj_database_url.parse(os.environ["BENCH_DATABASE_URL"], conn_max_age=None)},
    INSTALLED_APPS=["django.contrib.contenttypes", "rest_framework"],
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF="bench.rivals.drf_view",
    SECRET_KEY=os.urandom(24).hex(),
    MIDDLEWARE=[],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
        "UNAUTHENTICATED_USER": None,
    },
)
django.setup()

from django.db import connection, models  # noqa: E402 (settings first)
from django.urls import path  # noqa: E402
from rest_framework import serializers  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from bench.rivals.celery_redis import app  # noqa: E402


class Job(models.Model):
    """A posted task."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    type = models.CharField(max_length=100)
    data = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    objects: models.Manager = models.Manager()

    class Meta:
        app_label = "bench"


class JobSerializer(serializers.Serializer):
    """The request body."""

    type = serializers.CharField(max_length=100)
    data = serializers.DictField()  # type: ignore[assignment]


class JobView(APIView):
    """POST: insert, commit, send to Celery."""

    def post(self, request: Request) -> Response:
        """Return the id."""
        serializer = JobSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        job = Job.objects.create(**serializer.validated_data)
        app.send_task("noop", (job.data["n"],), ignore_result=True)
        return Response({"task_id": str(job.id)})


urlpatterns = [path("queue", JobView.as_view())]
application = get_wsgi_application()


def make_table() -> None:
    """Create the table."""
    with connection.schema_editor() as editor:
        editor.create_model(Job)


def rows() -> int:
    """The number of stored tasks."""
    return int(Job.objects.count())
