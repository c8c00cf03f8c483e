"""Addresses of the admin's pages."""

from __future__ import annotations

from django.urls import reverse
from django.utils.http import urlencode


def listed(**narrowed: str) -> str:
    """The address of the list of tasks, with these filters."""
    return f"{reverse('admin:tasks_app_task_changelist')}?{urlencode(narrowed)}"


def handler_link(name: str) -> str:
    """The address of a handler's page. A parameter: a name that is no part of a path is still one."""
    return f"{reverse('admin-handler')}?{urlencode({'type': name})}"


def node_link(name: str) -> str:
    """The address of a node's page."""
    return reverse("admin:tasks_app_node_change", args=(name,))


def audit_link(target: str) -> str:
    """The address of the audit log's lines about a target."""
    return f"{reverse('admin:tasks_app_auditentry_changelist')}?{urlencode({'q': target})}"
