"""Benchmarks: the same work done here and by a peer, side by side in one run.

``python -m benchmarks`` runs them all; see the page "Benchmarks" of the documentation.
"""
