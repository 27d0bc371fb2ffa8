"""Managed clones of sources: where they are, what they are called, who may use them.

They are ours alone: made when a source is worked with by its URL, kept for the next time, and
removed without a loss.
"""
