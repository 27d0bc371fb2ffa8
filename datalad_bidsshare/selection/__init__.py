"""Which files: BIDS entities, the selection grammar, companions and tables.

Works on names only. Nothing here reads content or runs a process, and nothing
here imports DataLad: the room can be used as a library on any list of paths.
"""
