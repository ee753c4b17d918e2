"""Memory planning: which values share bytes, and where each lies in the arena."""
