"""The form that makes an API key."""

from __future__ import annotations

from django import forms

from tasks_app import conf
from tasks_app.keys.grant import MAX_RATE, MIN_RATE, SCOPE_TEXTS, Grant, Scope


class NewKeyForm(forms.Form):
    """What a key may do. All scopes together are no limit, as for a key that the command makes without options."""

    name = forms.CharField(max_length=100)
    scopes = forms.MultipleChoiceField(
        choices=[(str(scope), f"{scope}: {text}") for scope, text in SCOPE_TEXTS.items()],
        initial=[str(scope) for scope in Scope],
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
        help_text="Tasks a second that it may post to each web process. Empty: no limit.",
    )

    def __init__(self, data: object = None) -> None:
        super().__init__(data)  # type: ignore[arg-type]
        self.fields["types"].choices = [(name, name) for name in conf.handlers()]  # type: ignore[attr-defined]

    def grant(self) -> Grant:
        """What the key will allow. Only of a valid form."""
        given = self.cleaned_data
        scopes = None if len(given["scopes"]) == len(Scope) else given["scopes"]
        return Grant(scopes, given["types"] or None, given["expires_at"], given["rate"])
