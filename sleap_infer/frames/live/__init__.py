"""Live sources: cameras, streams, and files that are played at their own rate."""
