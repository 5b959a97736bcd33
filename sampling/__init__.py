"""Drawing tunes, keeping them in the notation, and the page to listen to them. Behind sample.py."""
