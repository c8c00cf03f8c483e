"""Numbers that are true for the whole system: counted in the database, in the transaction of the move they count.

What a process counts in its memory (`tally`) follows within a second.
"""
