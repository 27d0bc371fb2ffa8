"""Giving disk space back: which content may go, in what order, and having it dropped.

Nothing here drops anything itself: that is git-annex's affair, in the dataset room.
"""
