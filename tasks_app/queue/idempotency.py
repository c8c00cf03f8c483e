"""Idempotency keys: rows that remember requests, so that a repeated request changes nothing.

A request posts tasks, or it is an act on an existing thing. Its key is stored in the transaction of its change. It
waits for another transaction that may store the same key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from tasks_app import conf
from tasks_app.db.lookups import pairs_in
from tasks_app.queue import models
from tasks_app.queue.submission import (
    IdempotencyKey,
    KeyReused,
    KeysContended,
    RequestName,
    Submitted,
)

#: How often a request looks again for tasks, or requests, that had its keys and are gone.
MAX_ROUNDS = 8


class EarlierRequest(NamedTuple):
    """A request whose idempotency key is known.

    A request that posted tasks has its answer as in `Submitted`; an act has its address and its target.
    """

    key: IdempotencyKey
    ids: list[UUID]
    existing: list[bool] | None
    target: str | None = None

    @classmethod
    def of(cls, row: models.IdempotencyKey) -> EarlierRequest:
        """The request that a row remembers."""
        key = IdempotencyKey(row.owner, row.key, row.meaning or "", row.path or "")
        return cls(key, [UUID(text) for text in row.task_ids], row.existing, row.target)

    def refusal(self, key: IdempotencyKey) -> KeyReused | None:
        """Why a request with this key is refused; None if it is the same request."""
        if key.meaning == self.key.meaning:
            return None
        return KeyReused(self.ids[0]) if self.target is None else KeyReused(self.ids[0], self.key.path)


def _earlier_request(key: IdempotencyKey) -> EarlierRequest | None:
    """The request that had this key before; None if there was none, or its time has passed."""
    rows = models.IdempotencyKey.objects.filter(owner=key.owner, key=key.key, expires_at__gt=Now())
    row = rows.first()
    return None if row is None else EarlierRequest.of(row)


def earlier_answer(key: IdempotencyKey) -> Submitted | None:
    """The answer to an earlier request with this key; None if there was no such request. Raises KeyReused."""
    if (request := _earlier_request(key)) is None:
        return None
    if isinstance(outcome := replay(key, request), KeyReused):
        raise outcome
    return outcome


def replay(key: IdempotencyKey, earlier: EarlierRequest) -> Submitted | KeyReused:
    """The outcome of a submission whose idempotency key an earlier request had."""
    return earlier.refusal(key) or Submitted(earlier.ids, earlier.existing, replayed=True)


def reserve(requests: Mapping[IdempotencyKey, Sequence[UUID]]) -> dict[RequestName, EarlierRequest]:
    """Store the keys that are new, each with the ids of its request's tasks. Needs a write transaction.

    No two of the keys have one name. Returns the requests that had the other keys before. A transaction that may store
    one of the keys is waited for. Raises KeysContended; then one of several may be stored alone.
    """
    earlier: dict[RequestName, EarlierRequest] = {}
    missing = {key.name: key for key in requests}
    now = datetime.now(UTC)  # this host's: to ask the database would cost each group a statement, for a time of hours
    if not missing:
        return earlier
    for _ in range(MAX_ROUNDS):
        models.IdempotencyKey.objects.bulk_create(
            (_row_of(missing[name], requests[missing[name]], now) for name in sorted(missing)), ignore_conflicts=True
        )
        # A statement of its own: the insert does not see what it waited for.
        expired, seen = [], set()
        for row in models.IdempotencyKey.objects.filter(pairs_in("owner", "key", missing)):
            name = row.owner, row.key
            seen.add(name)
            if row.task_ids == _texts(requests[missing[name]]):
                del missing[name]
            elif row.expires_at > now:
                earlier[name] = EarlierRequest.of(row)
                del missing[name]
            else:
                expired.append(row)
        if not missing:
            return earlier
        if len(requests) > 1 and not missing.keys() <= seen:
            # Removed between the insert and the read: to insert one again while others are held breaks their order.
            raise KeysContended
        for row in sorted(expired, key=lambda row: (row.owner, row.key)):
            models.IdempotencyKey.objects.filter(pk=row.pk, expires_at=row.expires_at).delete()
    raise KeysContended


def _row_of(key: IdempotencyKey, ids: Sequence[UUID], now: datetime) -> models.IdempotencyKey:
    return models.IdempotencyKey(
        owner=key.owner,
        key=key.key,
        meaning=key.meaning,
        task_ids=_texts(ids),
        expires_at=remembered_until(now),
    )


def remembered_until(now: datetime) -> datetime:
    """When a key that is stored now counts as unused again."""
    return now + timedelta(seconds=conf.environment().idempotency_ttl)


def _texts(ids: Sequence[UUID]) -> list[str]:
    return [str(identity) for identity in ids]


def remember_answer(key: IdempotencyKey, ids: Sequence[UUID], existing: Sequence[bool]) -> None:
    """Store the outcome of a reserved key's request, which `reserve` could not foresee, as its answer."""
    row = models.IdempotencyKey.objects.filter(owner=key.owner, key=key.key)
    row.update(task_ids=_texts(ids), existing=existing)


# Acts: their targets are there already, or are stored in the same transaction.

#: Stored for an act on something without a UUID.
NO_ID = UUID(int=0)


class ActRepeated(Exception):
    """An earlier request with this idempotency key has done the act. `target`: the target of that act."""

    def __init__(self, target: str) -> None:
        super().__init__(f"an earlier request with this idempotency key has done this to {target}")
        self.target = target


def remember_act(key: IdempotencyKey, target: str) -> None:
    """Store the key of an act before it changes anything, in its write transaction.

    A transaction that may store the key is waited for. Raises ActRepeated, KeyReused or KeysContended.
    """
    rows = models.IdempotencyKey.objects.filter(owner=key.owner, key=key.key)
    for _ in range(MAX_ROUNDS):
        if (earlier := _earlier_request(key)) is not None:
            raise earlier.refusal(key) or ActRepeated(earlier.target or "")
        rows.filter(expires_at__lte=Now()).delete()
        row = _row_of(key, [_id_of(target)], datetime.now(UTC))
        row.path, row.target = key.path, target
        try:
            with transaction.atomic():
                row.save(force_insert=True)
            return
        except IntegrityError:  # another request has stored it meanwhile: what it waited for, only a new statement sees
            continue
    raise KeysContended


def _id_of(target: str) -> UUID:
    try:
        return UUID(target)
    except ValueError:
        return NO_ID
