"""The rewrite engine and its rule sets: exact, fast, stable."""
