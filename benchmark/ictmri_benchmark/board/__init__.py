"""Entries, and the leaderboard that they make."""
