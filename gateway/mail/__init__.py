"""The vocabulary of the house: plain values, no I/O, no asyncio; ``idna`` is the only third-party import.

Known gaps: none.
"""
