"""Ring 2: pictures and videos, from file to array and back."""
