"""Engine files that hold what they were built from, and are built anew on machines of another kind."""
