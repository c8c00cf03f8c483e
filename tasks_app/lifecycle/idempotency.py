"""The requests that are known by their idempotency keys, in the transaction that stores their tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tasks_app import conf, models
from tasks_app.db.any_pair import any_pair
from tasks_app.lifecycle.submission import IdempotencyKey, KeyReused, KeysContended, Submitted
from tasks_app.store import clock
from tasks_app.store.batches import run_batches
from tasks_app.store.new_idempotency_key import NewIdempotencyKey
from tasks_app.store.transactions import writing

#: How often a submit looks again for tasks, or requests, that had its keys and are gone.
MAX_ROUNDS = 8
#: Few enough that no other writer waits long.
FORGOTTEN_PER_TRANSACTION = 1000
#: Called once a second, this is faster than callers can send new keys.
FORGETS_PER_CALL = 10

#: An API key's id and the text of the idempotency key.
Name = tuple[int, str]


def name_of(key: IdempotencyKey) -> Name:
    """What no two requests have in common."""
    return key.owner, key.key


def reserve(wanted: Mapping[Name, tuple[str, Sequence[UUID]]]) -> dict[Name, models.IdempotencyKey]:
    """Store the keys that are new, each with its fingerprint and the ids of its tasks. Needs a write transaction.

    Returns the requests that had the other keys before. A transaction that may store one of the keys is waited for.
    Raises KeysContended; then one of several may be stored alone.
    """
    earlier: dict[Name, models.IdempotencyKey] = {}
    missing = set(wanted)
    now = datetime.now(UTC)  # this host's: to ask the database would cost each group a statement, for a time of hours
    if not missing:
        return earlier
    for _ in range(MAX_ROUNDS):
        # Sorted, or two transactions with the same keys in another order would wait for each other.
        models.IdempotencyKey.objects.bulk_create(
            (_row(name, *wanted[name], now) for name in sorted(missing)), ignore_conflicts=True
        )
        # A statement of its own: the insert does not see what it waited for.
        expired, seen = [], set()
        for row in models.IdempotencyKey.objects.filter(any_pair("owner", "key", missing)):
            name = row.owner, row.key
            seen.add(name)
            if row.task_ids == _texts(wanted[name][1]):
                missing.discard(name)
            elif row.expires_at > now:
                earlier[name] = row
                missing.discard(name)
            else:
                expired.append(row)
        if not missing:
            return earlier
        if len(wanted) > 1 and not missing <= seen:
            # Removed between the insert and the read: to insert one again while others are held breaks their order.
            raise KeysContended
        for row in sorted(expired, key=lambda each: (each.owner, each.key)):
            models.IdempotencyKey.objects.filter(pk=row.pk, expires_at=row.expires_at).delete()
    raise KeysContended


def new_idempotency_key(key: IdempotencyKey, tasks: range) -> NewIdempotencyKey:
    """The key of a request with the tasks at these places, as it is stored now."""
    return NewIdempotencyKey(key.owner, key.key, key.fingerprint, _kept_until(datetime.now(UTC)), tasks)


def correct(name: Name, submitted: Submitted) -> None:
    """Let a reserved key answer what its request came to, if that is not what was foreseen."""
    models.IdempotencyKey.objects.filter(owner=name[0], key=name[1]).update(
        task_ids=_texts(submitted.ids), existing=submitted.existing
    )


def answer(row: models.IdempotencyKey, fingerprint: str) -> Submitted | KeyReused:
    """What a request with the key of an earlier one is answered."""
    ids = [UUID(text) for text in row.task_ids]
    return Submitted(ids, row.existing, replayed=True) if row.fingerprint == fingerprint else KeyReused(ids[0])


def earlier(key: IdempotencyKey) -> Submitted | None:
    """What an earlier request with this key was answered; None if there was none. Raises KeyReused."""
    kept = models.IdempotencyKey.objects.filter(owner=key.owner, key=key.key, expires_at__gt=clock.Now())
    if (row := kept.first()) is None:
        return None
    if isinstance(outcome := answer(row, key.fingerprint), KeyReused):
        raise outcome
    return outcome


def forget_idempotency_keys() -> int:
    """Remove keys whose time has passed, 10,000 at most and for a second at most. Returns how many."""
    return run_batches(_forget_batch, FORGOTTEN_PER_TRANSACTION, FORGETS_PER_CALL)


def _forget_batch() -> int:
    late = models.IdempotencyKey.objects.filter(expires_at__lte=clock.Now()).order_by("expires_at")
    with writing():
        # SKIP LOCKED avoids a deadlock between two nodes, and with a request that replaces one of the keys.
        ids = list(late.select_for_update(skip_locked=True).values_list("pk", flat=True)[:FORGOTTEN_PER_TRANSACTION])
        return models.IdempotencyKey.objects.filter(pk__in=ids).delete()[0]


def _row(name: Name, fingerprint: str, ids: Sequence[UUID], now: datetime) -> models.IdempotencyKey:
    return models.IdempotencyKey(
        owner=name[0], key=name[1], fingerprint=fingerprint, task_ids=_texts(ids), expires_at=_kept_until(now)
    )


def _kept_until(now: datetime) -> datetime:
    return now + timedelta(seconds=conf.environment().idempotency_ttl)


def _texts(ids: Sequence[UUID]) -> list[str]:
    return [str(each) for each in ids]
