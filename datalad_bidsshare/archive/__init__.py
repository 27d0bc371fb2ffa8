"""Zip archives: what is in them, what is safe to unpack, and unpacking it.

What unpacks imports next to nothing: it also runs as a command of its own, and in workers.
"""
