"""What differs between systems, and what the package needs of them: files, locks, caches, processes, cores, text."""
