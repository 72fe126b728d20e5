"""The algorithms behind SPF, DKIM, DMARC and ARC; libraries wrapped, nothing here awaits.

Where an algorithm needs an answer from outside it says so as a value; a check fetches it and goes on.

Known gaps: none.
"""
