"""What every process of the platform needs, web server or worker: a name, SIGHUP, fail points for tests."""
