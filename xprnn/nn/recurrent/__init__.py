"""Recurrent layers: whole sequences, single steps, streams, and steps of one's own."""
