"""What can be shown afterwards: the decision record of each transaction, and ``explain``, the same judgement offline.

Known gaps: none.
"""
