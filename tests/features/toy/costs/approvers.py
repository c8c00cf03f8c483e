"""Stores and reads the option that a table has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, Subquery
from django.db.models.expressions import Combinable

from tasks_app.features.costs.models import Approver
from tasks_app.options.option import OptionTable


class Approvers(OptionTable):
    """A row for each task that names an approver."""

    def store(self, values: Mapping[UUID, Any]) -> None:
        Approver.objects.bulk_create(Approver(task=task, name=name) for task, name in values.items())

    def value(self) -> Combinable:
        return Subquery(Approver.objects.filter(pk=OuterRef("pk")).values("name"))


approvers = Approvers()
