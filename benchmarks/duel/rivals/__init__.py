"""The rivals' arms, a file a library."""
