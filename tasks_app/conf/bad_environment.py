"""The error for an unusable environment."""

from __future__ import annotations


class BadEnvironment(Exception):
    """The environment cannot be used.

    `faults` has one sentence for each bad variable, `handlers_faults` one for each fault in handlers.toml.
    """

    def __init__(self, faults: list[str], handlers_faults: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join((*faults, *handlers_faults)))
        self.faults, self.handlers_faults = faults, handlers_faults
