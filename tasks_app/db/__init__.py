"""Below the state machine: lookups, locks, write health, and what each database needs of its driver."""
