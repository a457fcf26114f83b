"""The journal: a SQLite file for the job, one file per writer, locks, and columns of poses."""
