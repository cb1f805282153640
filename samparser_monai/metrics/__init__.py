"""How well organs and instances were found."""
