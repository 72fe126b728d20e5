"""Commands over the rest: each file has ``arguments(parser)`` and ``run(args) -> exit code``; ``main`` is the table.

Known gaps: none.
"""
