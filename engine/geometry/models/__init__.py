"""Learned geometry, by the user's choice: networks whose weights are fetched, not shipped."""
