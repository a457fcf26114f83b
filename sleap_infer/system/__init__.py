"""Everything that differs between operating systems: files, locks, caches, processes, cores, text for terminals."""
