"""From views to a representation: data, plans, fits, paths, the search for reg, and how all of it is saved."""
