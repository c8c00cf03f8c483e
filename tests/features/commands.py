"""Commands in a test's own process, and what the audit log says of them."""

from __future__ import annotations

from io import StringIO

from django.core.management import call_command

from tasks_app.audit import AuditEntry


def run(*words: str) -> str:
    """What a command says."""
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def audited() -> list[tuple[str, str, str]]:
    """All acts: by what way, what, and to what."""
    return list(AuditEntry.objects.order_by("pk").values_list("via", "action", "target"))
