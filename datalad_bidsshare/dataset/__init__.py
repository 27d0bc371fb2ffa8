"""What a dataset holds and how its content moves.

The only room that runs git or git-annex, and the only one that touches
DataLad API which is not public.
"""
