"""Why a task waits, on its page in the admin."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.html import format_html

from tasks_app.admin.text import line
from tasks_app.features.why.decide import as_text, decide
from tasks_app.features.why.facts import read_facts
from tasks_app.queue.models import Status, Task

#: Of the sentence.
MAX_CHARS = 1000


def why_it_waits(request: HttpRequest, task: Task) -> str:
    """A sentence about a pending task; blank about another."""
    if task.status != Status.PENDING or (facts := read_facts(task.pk)) is None:
        return ""
    sentence = line(as_text(decide(facts)), MAX_CHARS)
    return format_html('<p class="td-why"><strong>Why it waits:</strong> {}.</p>', sentence) if sentence else ""


panels = {"task.why": why_it_waits}
