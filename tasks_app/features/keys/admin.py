"""API keys in the admin: the form that makes one, the list, and revoking."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app import conf
from tasks_app.admin.lists import RowAdmin, badge, column
from tasks_app.admin.pages import actor
from tasks_app.admin.text import ago, line
from tasks_app.audit import record
from tasks_app.features.keys.verbs import make
from tasks_app.handlers.words import plural, utc_text
from tasks_app.keys import api_keys
from tasks_app.keys.api_keys import MAX_RATE, MIN_RATE, SCOPE_TEXTS, ApiKey, Grant, Scope
from tasks_app.queue.current import writing
from tasks_app.rights import MAKE_KEYS, SEE_KEYS, may

FIRST_KEY = (
    "This is the first key. Until now, programs on this machine call the API without one. Once a key is made, every "
    "call needs one: theirs are refused (401), even if the key is revoked later."
)


class NewKeyForm(forms.Form):
    """What a key may do: read, unless more is ticked. All scopes together are no limit, as for a key that the command
    makes without options."""

    name = forms.CharField(max_length=100)
    scopes = forms.MultipleChoiceField(
        choices=[(str(scope), f"{scope}: {text}") for scope, text in SCOPE_TEXTS.items()],
        initial=[str(Scope.TASKS_READ)],
        help_text="Tick no more than its programs need.",
        widget=forms.CheckboxSelectMultiple,
    )
    types = forms.MultipleChoiceField(
        label="Only these types",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: all types, also those that are added later.",
    )
    expires_at = forms.DateTimeField(
        label="Expires",
        required=False,
        widget=forms.DateTimeInput({"type": "datetime-local"}),
        help_text="UTC. Empty: never.",
    )
    rate = forms.FloatField(
        min_value=MIN_RATE,
        max_value=MAX_RATE,
        required=False,
        widget=forms.NumberInput({"step": "any"}),
        help_text="Tasks a second that it may post, to all web servers together: alone, in batches and by runs of "
        "schedules. The schedules that it puts may together not make more. Redrives are not counted. Empty: no limit.",
    )
    callback_secret = forms.BooleanField(
        label="A secret of its own for callbacks",
        required=False,
        help_text="It signs the callbacks of the key's tasks. Without it, the deployment's secrets do.",
    )

    def __init__(self, data: object = None) -> None:
        super().__init__(data)  # type: ignore[arg-type]
        self.fields["types"].choices = [(name, name) for name in conf.handlers()]  # type: ignore[attr-defined]

    def grant(self) -> Grant:
        """What the key will allow. Only of a valid form."""
        given = self.cleaned_data
        scopes = None if len(given["scopes"]) == len(Scope) else given["scopes"]
        return Grant(scopes, given["types"] or None, given["expires_at"], given["rate"])


@admin.register(ApiKey)
class ApiKeyAdmin(RowAdmin):
    """Shows a key once, when it is made: the database has only its hash."""

    seen_by = (SEE_KEYS,)
    list_display = (
        "shown_name", "begins", "state", "shown_scopes", "shown_types", "shown_rate", "signs", "made", "ends", "used",
    )  # fmt: skip
    ordering = ("-created_at",)
    search_fields = ("name", "prefix")
    fields = list_display
    readonly_fields = fields
    actions = ("revoke",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may(request, MAKE_KEYS)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form, and the page with the new key. No cache keeps it, as all pages of the admin; a reload makes no
        other key."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewKeyForm(request.POST if request.method == "POST" else None)
        ends_open_calls = conf.environment().open_on_loopback and not ApiKey.objects.exists()
        made = self._made(request, form) if form.is_valid() else {}
        return self.page(
            request, "keys/new_key.html", "Make an API key", form=form, ends_open_calls=ends_open_calls,
            warnings=[FIRST_KEY] if ends_open_calls else [], **made,
        )  # fmt: skip

    def _made(self, request: HttpRequest, form: NewKeyForm) -> dict[str, Any]:
        """Make the key of a valid form. Returns what the page shows; nothing if it is refused: the form says why."""
        name, signs = form.cleaned_data["name"], form.cleaned_data["callback_secret"]
        try:
            key, secret = make(actor(request), name, form.grant(), signs)
        except api_keys.KeyRefused as refused:
            form.add_error(None, str(refused))
            return {}
        return {"key": key, "name": line(name), "secret": secret}

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.action(description="Revoke", permissions=("change",))
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        """Ask, then revoke the selected keys."""
        in_force = list(queryset.filter(revoked_at=None))
        if in_force and "post" not in request.POST:
            names = ", ".join(line(key.name) for key in in_force)
            return self.page(
                request,
                "keys/revoke.html",
                f"Revoke {len(in_force)} API {plural(len(in_force), 'key')}?",
                names=f"Programs with {names} get 401 within two seconds.",
                explained="This is final: a revoked key cannot be put in force again.",
                keys=[key.pk for key in in_force],
                yes="Yes, revoke",
                back=request.get_full_path(),
            )
        with writing():
            revoked = [key for key in in_force if api_keys.revoke_key(key.pk)]
            for key in revoked:
                record(actor(request), "revoke_key", key.name)
        self.message_user(
            request,
            f"{len(revoked)} revoked: refused within two seconds.",
            messages.SUCCESS if revoked else messages.WARNING,
        )
        return None

    def audit_target(self, row: Any) -> str:
        return str(row.name)

    shown_name = column("name", lambda key: line(key.name))
    begins = column("begins with", lambda key: format_html("<code>{}...</code>", key.prefix))

    @admin.display(description="state")
    def state(self, key: ApiKey) -> SafeString:
        """Whether it is in force."""
        if key.revoked_at:
            return badge("none", "revoked")
        expired = key.expires_at is not None and key.expires_at <= timezone.now()
        return badge("none", "expired") if expired else badge("completed", "good")

    shown_scopes = column("scopes", lambda key: "all" if key.scopes is None else ", ".join(key.scopes))
    shown_types = column("types", lambda key: "all" if key.types is None else line(", ".join(key.types), 300))
    shown_rate = column("rate", lambda key: "no limit" if key.rate is None else f"{key.rate:g}/s")
    signs = column(
        "callbacks", lambda key: "the deployment's secrets" if key.callback_secret is None else "its own secret"
    )
    ends = column("expires", lambda key: utc_text(key.expires_at, "minutes") if key.expires_at else "never")
    made = column("made", lambda key: utc_text(key.created_at, "minutes"))
    used = column("last used", lambda key: ago(key.last_used_at, timezone.now()) if key.last_used_at else "never")
