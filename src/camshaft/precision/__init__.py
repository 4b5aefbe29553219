"""The precision of a build: what options permit, require and give ranges for, and the search among it."""
