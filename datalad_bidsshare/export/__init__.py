"""Plain copies for people without DataLad: plan, copy, manifest.

Kept empty: the copying processes import this package, and must start at once.
"""
