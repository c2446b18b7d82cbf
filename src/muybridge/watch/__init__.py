"""Watch: people, actions and labels over a live picture, all from one reading of it."""
