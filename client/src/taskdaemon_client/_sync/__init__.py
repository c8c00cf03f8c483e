# Made of _async by client/generate_sync.py: change it there.
