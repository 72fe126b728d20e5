"""What makes nodes one cluster: duties that each node does beside its mail, over the board that all share.

Known gaps: none.
"""
