"""The audit log: who did what, in the admin, by the API or by a command."""
