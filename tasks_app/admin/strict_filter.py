"""The filters of the admin's lists, which never show more than their addresses ask for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from tasks_app.admin.text import line

#: The choices of filters by time: the title and how far each looks back.
SPANS = {
    "hour": ("past hour", timedelta(hours=1)),
    "day": ("past 24 hours", timedelta(days=1)),
    "week": ("past 7 days", timedelta(days=7)),
}


class StrictFilter(admin.SimpleListFilter):
    """One parameter of the list's address.

    A value that is not understood matches nothing, and `fault` says why. If it were ignored, an action on "all that
    match" would act on everything.
    """

    #: What is wrong with the value, in one sentence, or ""
    fault = ""

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: type[Any], model_admin: Any) -> None:
        given = params.get(str(self.parameter_name), [])
        super().__init__(request, params, model, model_admin)
        if len(given) > 1:
            self.fault = f"The filter “{self.title}” is given {len(given)} times."
        elif given and not self.understands(given[0]):
            words = ", ".join(line(str(word), 40) for word, _ in self.lookup_choices[:20])
            self.fault = f"“{line(given[0], 60)}” is no value of the filter “{self.title}”, which knows: {words}."

    def has_output(self) -> bool:
        # Django drops a filter without choices, even if the address sets it.
        return True

    def understands(self, value: str) -> bool:
        """Whether a value is one of the choices."""
        return value in {str(key) for key, _ in self.lookup_choices}

    @property
    def description(self) -> str:
        """What it filters for, as part of a sentence; "" if it is not set."""
        value = self.value()
        if value is None:
            return ""
        titles = {str(key): str(title) for key, title in self.lookup_choices}
        return f"{self.title}: {titles.get(value, line(value, 60))}"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.fault:
            return queryset.none()
        value = self.value()
        return queryset if value is None else self.narrow(queryset, value)

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The rows that match a value."""
        raise NotImplementedError
