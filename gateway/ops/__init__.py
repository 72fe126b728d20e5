"""What operators see: log lines, metrics, the admin port, health. Nothing here decides about mail.

Known gaps: no traces.
"""
