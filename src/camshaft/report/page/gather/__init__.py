"""What a page shows, gathered from engines, programs, sessions and graphs."""
