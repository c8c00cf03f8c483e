"""Deployments for the tests of features."""

from tests.system.conftest import deployment as deployment
