"""The logins that were tried: axes' own pages, on which what anyone may send is harmless text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from axes.admin import AccessAttemptAdmin, AccessFailureLogAdmin, AccessLogAdmin
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest

from tasks_app.admin.text import harmless

#: What a request says of itself.
TEXTS = ("username", "user_agent", "http_accept", "path_info", "get_data", "post_data")

Login = TypeVar("Login", bound=AccessAttempt | AccessLog | AccessFailureLog)


class HarmlessList(ChangeList):
    """A page of them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = [_shown(each) for each in self.result_list]


class HarmlessLogins(admin.ModelAdmin):
    """Their rows cannot be changed: an object on a page has other text than its row."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return HarmlessList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        found = super().get_object(request, object_id, from_field)
        return None if found is None else _shown(found)

    def get_deleted_objects(self, objs: Iterable[Any], request: HttpRequest) -> Any:
        return super().get_deleted_objects([_shown(each) for each in objs], request)


def _shown(login: Login) -> Login:
    for field in TEXTS:
        if text := getattr(login, field, None):
            setattr(login, field, harmless(text))
    return login


class AttemptedLogins(HarmlessLogins, AccessAttemptAdmin):
    """Wrong passwords that count towards a lock-out."""


class Logins(HarmlessLogins, AccessLogAdmin):
    """Logins, and when their sessions ended."""


class FailedLogins(HarmlessLogins, AccessFailureLogAdmin):
    """All wrong passwords, if axes keeps them."""


for model, kind in ((AccessAttempt, AttemptedLogins), (AccessLog, Logins), (AccessFailureLog, FailedLogins)):
    admin.site.unregister(model)
    admin.site.register(model, kind)
