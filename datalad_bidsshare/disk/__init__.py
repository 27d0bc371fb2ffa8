"""What file systems do to names, links and processes that write to one place.

What writes outside of git and git-annex (exports, extracted archives) stands on it.
"""
