"""Every number a user may change, as frozen dataclasses: one file for each folder that uses it. No torch here."""
