"""`python -m taskdaemon_client.command`: the same as `tdctl`."""

from taskdaemon_client.command import main

main()
