"""How a program is executed: backends, states, arenas, the executor, profiles."""
