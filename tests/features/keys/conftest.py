"""Fixtures of the tests of keys."""

from tests.keys.conftest import client as client
from tests.keys.conftest import listen as listen
from tests.keys.conftest import nothing_remembered as nothing_remembered
