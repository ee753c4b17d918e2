"""How a graph leaves: as a file for other runtimes, as a picture."""
