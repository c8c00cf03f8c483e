"""What the pages of pauses and drains share: their form, and each of them as part of a sentence."""

from __future__ import annotations

from typing import Any

from django import forms

from tasks_app.admin.text import line
from tasks_app.handlers.words import moment_text
from tasks_app.queue.node_models import MAX_REASON_CHARS, REASON, Drain, HandlerPause, reason_of

#: The field of a form with the revision of what its page showed.
SEEN = "seen"


class SeenForm(forms.Form):
    """A question about a pause or a drain: it carries the revision of what its page showed, blank if there was none."""

    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def clean_seen(self) -> str | None:
        """None if the request has none, as that of a script: then nothing is compared."""
        seen: str = self.cleaned_data["seen"]
        return seen if SEEN in self.data else None


class HoldForm(SeenForm):
    """Why it is paused or drained."""

    reason = forms.CharField(
        label="Reason",
        required=False,
        max_length=MAX_REASON_CHARS,
        help_text=REASON,
        widget=forms.TextInput({"class": "td-sentence"}),
    )

    def clean_reason(self) -> str:
        """As it is stored."""
        try:
            return reason_of(self.cleaned_data["reason"])
        except ValueError as error:
            raise forms.ValidationError(f"It must be {error}.") from None


def asked_again(data: Any, now: HandlerPause | Drain | None, **changed: str) -> Any:
    """The data of a form that is shown again, about what there is now."""
    data = data.copy()
    data[SEEN] = "" if now is None else now.revision
    data.update(changed)
    return data


def changed_meanwhile(now: str, ended: str, by: str | None) -> str:
    """What a form says whose page is out of date. `now`: what there is now, blank for nothing; `ended`: what became of
    it then, such as `resumed`; `by`: by whom, None for nobody."""
    what = f"it is {now}" if now else gone(ended, by)
    return (
        f"This has changed since the page was loaded: {what}. Nothing was done. Look again, and confirm it once more."
    )


def gone(ended: str, by: str | None) -> str:
    """What became of a hold: see `changed_meanwhile`."""
    return f"{line(by, 60)} has {ended} it" if by else "it has ended by itself"


def pause_text(pause: HandlerPause) -> str:
    """By whom it was paused, since when, until when and why."""
    until = "" if pause.until is None else f", until {moment_text(pause.until)}"
    return f"by {line(pause.paused_by, 60)} since {moment_text(pause.paused_at)}{until}{reason_text(pause.reason)}"


def drain_text(drain: Drain) -> str:
    """By whom it was drained, since when and why."""
    return f"by {line(drain.by, 60)} since {moment_text(drain.at)}{reason_text(drain.reason)}"


def reason_text(reason: str | None) -> str:
    """A reason in brackets, after a blank; blank if there is none."""
    return f" ({line(reason, MAX_REASON_CHARS)})" if reason else ""
