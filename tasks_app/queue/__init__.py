"""What the verbs ask of a database: one protocol, and a folder for each database that implements it."""
