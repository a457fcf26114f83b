"""What the package needs of the operating system: files, the cache, processes, cores, runtimes, the terminal."""
