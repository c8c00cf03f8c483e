"""A node: one worker process, its slots, and the threads that claim tasks and save results."""
