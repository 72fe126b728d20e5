"""The world behind the ports: one file per real thing, and the honest small ones that tests and explain use.

Each adapter maps foreign errors to PortFailure once. Only node.py and tests import from here.

Known gaps: none.
"""
