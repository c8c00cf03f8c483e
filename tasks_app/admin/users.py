"""Users and groups: Django's own pages, with the role on the form of a new user, and old and new values in the audit
log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from tasks_app.admin.lists import DeletedRows
from tasks_app.admin.pages import Refusal, actor
from tasks_app.audit import record
from tasks_app.queue.current import writing
from tasks_app.rights import Role


class Recorded(DeletedRows):
    """Records what is added, changed and deleted."""

    class Media:
        js = ("taskdaemon/selectors.js",)

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """Also write the line of the audit log. Django calls this in the act's transaction, once all is saved, and
        nothing later that knows the form."""
        act = f"{'add' if add else 'change'}_{self.opts.model_name}"
        target = form.user if isinstance(form, AdminPasswordChangeForm) else form.instance
        record(actor(request), act, str(target), **_said(form, add))
        return super().construct_change_message(request, form, formsets, add)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        for one in queryset:
            record(actor(request), f"delete_{self.opts.model_name}", str(one))
        return super().log_deletions(request, queryset)


def _said(form: Any, add: bool) -> dict[str, Any]:
    """What a form sets, by field; of a change the old and the new value. A password has no place in a log."""
    given = form.cleaned_data
    if isinstance(form, AdminPasswordChangeForm):
        return {"password": "changed" if given["set_usable_password"] else "removed"}
    said: dict[str, Any] = {}
    for name in given if add else form.changed_data:
        new = _plain(given[name])
        if "password" in name:
            continue
        if add:
            said |= {name: new} if new else {}
            continue
        old = _plain(form.initial.get(name))
        if name in ("permissions", "user_permissions"):  # there may be a hundred
            said[name] = {"added": sorted({*new} - {*old}), "removed": sorted({*old} - {*new})}
        else:
            said[name] = {"old": old, "new": new}
    return said


def _plain(value: Any) -> Any:
    """A value of a form as JSON."""
    if isinstance(value, QuerySet | list | tuple):
        return sorted(_plain(one) for one in value)
    if isinstance(value, Permission):
        return value.codename
    return value if value is None or isinstance(value, bool) else str(value)


class NewUserForm(AdminUserCreationForm):
    """A name, a password, and what the user may do. Saved as it begins, it makes a colleague who can look."""

    role = forms.ModelChoiceField(
        Group.objects.filter(name__in=[role.name.lower() for role in Role]).order_by("pk"),
        required=False,
        to_field_name="name",
        initial=Role.VIEWER.name.lower(),
        empty_label="none",
        help_text="viewer: sees tasks without payloads. operator: sees payloads too, and acts on tasks. "
        "admin: also deletes tasks, makes API keys and manages users.",
    )

    def _save_m2m(self) -> None:
        super()._save_m2m()  # type: ignore[misc]
        if (role := self.cleaned_data["role"]) is not None:
            self.instance.groups.add(role)


#: What a superuser needs to log in here.
ABLE = ("is_superuser", "is_active", "is_staff")
LAST = "This is the last superuser who is active and staff: make another user one first."


def _are_last(users: Iterable[int]) -> bool:
    """Whether these are all superusers who can log in. In a transaction the answer holds until its end."""
    with transaction.atomic():
        able = User.objects.filter(**dict.fromkeys(ABLE, True)).order_by("pk").select_for_update()
        keys = set(able.values_list("pk", flat=True))
    return bool(keys) and keys <= {*users}


class ChangedUserForm(UserChangeForm):
    """What a user may do."""

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if not all(given.get(name) for name in ABLE) and _are_last([self.instance.pk]):
            raise forms.ValidationError(LAST)
        return given


admin.site.unregister([User, Group])


@admin.register(User)
class RecordedUserAdmin(Recorded, UserAdmin):
    """Users."""

    readonly_fields = ("last_login", "date_joined")
    form = ChangedUserForm
    add_form = NewUserForm
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": ("username", "usable_password", "password1", "password2", "role", "is_staff"),
            },
        ),
    )

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"is_staff": True, **super().get_changeform_initial_data(request)}

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Django asks for it before each deletion, in its transaction."""
        if _are_last(user.pk for user in objs):
            raise Refusal(409, LAST)
        return super().get_deleted_objects(objs, request)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Django's page; the new password and its line of the audit log are one transaction."""
        if request.method != "POST":
            return super().user_change_password(request, id, form_url)
        with writing():
            return super().user_change_password(request, id, form_url)


@admin.register(Group)
class RecordedGroupAdmin(Recorded, GroupAdmin):
    """Groups."""
