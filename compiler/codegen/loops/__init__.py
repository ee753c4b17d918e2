"""The loop form: what a step computes, as loops over affine indexes; printable, and run by plain NumPy for tests."""
