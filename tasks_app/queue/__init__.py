"""The rows of tasks and nodes, every move of a task, and (store.py) what the moves ask of a database."""
