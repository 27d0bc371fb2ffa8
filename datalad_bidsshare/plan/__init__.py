"""What a request means: the files of a hierarchy of datasets, and their state.

Joins the rooms `selection` (which names) and `dataset` (what there is) for all
commands: list, select, add companions, look what is present. Acts on nothing
but what it cannot plan without: subdatasets that could match are installed,
tables that decide are fetched; in a dry run not even those.
"""
