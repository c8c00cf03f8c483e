"""The tests of features notify nobody."""

import pytest


@pytest.fixture(autouse=True)
def nobody_notified(notifications: object) -> None:
    """Notifications reach no broker."""
