"""The pytest plugin: hooks, items, progress and summary; the library is imported when a battery runs."""
