"""Metrics of the whole system. The database counts each change in the transaction that makes it.

Counts that a process keeps in memory (`local_counters`) follow within a second.
"""
