"""Feature files of other programs, read and written by the rules of their own readers."""
