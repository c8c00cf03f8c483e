from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Count

from tasks_app.db.first_id import first_id
from tasks_app.models import Status, Task, TaskQuerySet
from tasks_app.models.choices import FINAL
from tasks_app.models.task_filter import FIRST_ID

#: Rows that one statement of a count looks at.
ROWS_PER_COUNT = 20_000


@dataclass(frozen=True)
class OldTasks:
    """Tasks that ended with `status` (completed or failed) before a moment: of `types` (None: of all), but not
    `without`. Raises ValueError for another status.

    They are found along the primary key. An id begins with its task's time of creation, so that a walk from the oldest
    on ends at the first id that is too young, and no row needs an index for it.
    """

    status: str
    before: datetime
    types: frozenset[str] | None = None
    without: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.status not in FINAL:
            raise ValueError(f"{self.status}: only finished tasks are pruned: completed or failed")

    @property
    def end(self) -> UUID:
        """All ids of these tasks are below."""
        return first_id(self.before)

    def rows(self) -> TaskQuerySet:
        """The tasks. To be narrowed by ids: nothing else keeps it from reading the whole table."""
        found = self._along().filter(status=self.status, completed_at__lt=self.before)
        if self.types is not None:
            found = found.filter(task_type__in=sorted(self.types))
        return found.exclude(task_type__in=sorted(self.without)) if self.without else found

    def window_end(self, after: UUID, size: int) -> UUID:
        """The id up to which a walk looks next: that of the row `size` rows after an id, or `end`."""
        ahead = self._along().filter(id__gt=after, id__lt=self.end).order_by("id").values_list("pk", flat=True)
        return next(iter(ahead[size - 1 : size]), self.end)

    def counted(self) -> Counter[str]:
        """How many there are, by type. Takes no lock, and no statement takes long."""
        found: Counter[str] = Counter()
        for after, last in self._windows():
            rows = self.rows().filter(id__gt=after, id__lte=last).order_by()
            found.update(dict(rows.values_list("task_type").annotate(count=Count("pk"))))
        return found

    def _windows(self) -> Iterator[tuple[UUID, UUID]]:
        after = FIRST_ID
        while after < self.end:
            last = self.window_end(after, ROWS_PER_COUNT)
            yield after, last
            after = last

    def _along(self) -> TaskQuerySet:
        """The rows that a walk passes: failed ones have an index of their ids."""
        return Task.objects.failed() if self.status == Status.FAILED else Task.objects.all()
