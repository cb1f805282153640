"""Studies: cells of a grid, trained and evaluated side by side; speeds; the tables of both."""
