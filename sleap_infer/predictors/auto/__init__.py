"""`backend="auto"`: measure backends on a clip, compare their poses, remember the fastest."""
