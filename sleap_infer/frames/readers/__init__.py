"""One reader per kind of source. `choose` maps a file to its reader."""
