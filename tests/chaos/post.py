"""A POST of one task or of a batch, which may be sent again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.chaos.call import Answer
from tests.chaos.load import Body
from tests.chaos.values import short


@dataclass
class Post:
    """`key`: its idempotency key; `wait`: seconds for which it asks to wait; `too_large`: it must be refused.

    `crowd`: the number of its crowd, whose tasks have one `run_at` and are posted one after another.

    `tries`: how often it was sent; `answered`: whether any answer was final; `accepted`: whether one was a 200.
    """

    address: str
    bodies: list[Body]
    key: str | None = None
    wait: int | None = None
    too_large: bool = False
    crowd: int | None = None
    tries: int = 0
    answered: bool = False
    accepted: bool = False

    @property
    def path(self) -> str:
        """With the wait."""
        return self.address + (f"?wait={self.wait}" if self.wait is not None else "")

    @property
    def content(self) -> Body:
        """The body of the request."""
        return {"tasks": self.bodies} if self.address.endswith("batch") else self.bodies[0]

    @property
    def headers(self) -> dict[str, str]:
        """Its key, quoted as the draft has it or bare."""
        if self.key is None:
            return {}
        return {"Idempotency-Key": self.key if self.tries % 2 else f'"{self.key}"'}

    def noted(self, body: Body) -> dict[str, Any]:
        """What the journal says of one of its tasks before it is sent."""
        noted = {"n": body["data"]["n"], "type": body["type"], "data": short(body["data"])}
        noted |= {"too_large": True} if self.too_large else {}
        noted |= {"crowd": self.crowd} if self.crowd is not None else {}
        noted |= {name: body[name] for name in ("delay", "expires_in") if name in body}
        if key := body.get("limit_key") or body["data"].get("customer"):
            noted["limit_key"] = key
        if "run_at" in body:
            noted["run_at"] = datetime.fromisoformat(body["run_at"]).timestamp()
        return noted if self.key is None else noted | {"key": self.key, "request": self.bodies[0]["data"]["n"]}

    def said(self, answer: Answer) -> dict[str, Any]:
        """What the journal says of its key with each accepted task."""
        replayed = answer.headers.get("idempotent-replayed") == "true"
        return {} if self.key is None else {"key": self.key, "replayed": replayed, "tries": self.tries}
