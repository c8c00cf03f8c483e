"""`GET /api/tasks/{id}/notes` and `POST`: the notes on a task."""

from __future__ import annotations

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app.api import schema
from tasks_app.api.errors import Invalid, NotFound
from tasks_app.api.fields import body_of
from tasks_app.api.view import API, actor_of, both, task_in_path
from tasks_app.features.notes.models import Note
from tasks_app.features.notes.verbs import NoSuchTask, note
from tasks_app.field import shown
from tasks_app.rights import OPERATE, SEE_TASKS, needs


class NoteObject(serializers.ModelSerializer):
    """A note."""

    class Meta:
        model = Note
        fields = ("text", "by")
        read_only_fields = ("by",)


class NotesView(API):
    """The notes on a task."""

    scopes = needs(GET=SEE_TASKS, POST=OPERATE)

    @schema.call("list_notes", "tasks", {200: NoteObject(many=True), **schema.NO_TASK}, [schema.TASK_ID])
    def get(self, request: Request, task_id: str) -> Response:
        """The notes on a task, the oldest first."""
        notes = Note.objects.filter(task=task_in_path(request, task_id)).order_by("pk")
        return Response(NoteObject(notes, many=True).data)

    @schema.call(
        "add_note", "tasks", {200: NoteObject, **schema.BAD, **schema.NO_TASK}, [schema.TASK_ID], request=NoteObject
    )
    def post(self, request: Request, task_id: str) -> Response:
        """Note something on a task."""
        identity, body = task_in_path(request, task_id), body_of(request)
        text = body.get("text") if isinstance(body, dict) else None
        if not (isinstance(text, str) and 0 < len(text) <= 200):
            raise Invalid([("text", f"text must be a string of 1 to 200 characters, not {shown(text)}")])
        try:
            return Response(NoteObject(note(identity, text, actor_of(request))).data)
        except NoSuchTask:
            raise NotFound from None


urlpatterns = both("api/tasks/<one:task_id>/notes", NotesView.as_view(), "notes")
