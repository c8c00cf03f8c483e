"""How every process of the platform logs."""
