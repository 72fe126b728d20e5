"""Drills: a constant flow of marked messages through the cluster while something breaks, and the account of it.

Reading order: catalogue (what is done to the cluster), targets (where a sender finds it), probe (one message, one
attempt to send it), load (the flow, with the retries of an honest sender), mailbox (what arrived), account (the
figures), course (a drill from its beginning to its end).
"""
