"""Fixtures of the tests of pauses: keys are read anew each time."""

from tests.keys.conftest import nothing_remembered as nothing_remembered
