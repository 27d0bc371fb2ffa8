"""What the user gets to see: result records, and summaries of many.

Records follow DataLad's design document "Result records"; all commands build
them here, so that they carry the same fields.
"""
