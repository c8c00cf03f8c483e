"""Django's PostgreSQL backend with one promise more: no call waits longer than it is told to."""
