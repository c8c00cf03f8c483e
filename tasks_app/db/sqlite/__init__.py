"""The write lock of SQLite databases."""
