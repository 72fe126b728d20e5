"""What to do about what was found. Pure: no await, no clock, no dice, no logging.

model (values) <- vocabulary (what each check can say) <- load (YAML to model) and decide (model to verdict).
``settings`` holds the knobs of each check, which a policy file carries and the checks read.

Known gaps: none.
"""
