"""What clients of a cluster did and saw, as data, and a checker that looks for what must not have happened.

``history`` has the operations that simulations and chaos tests record, ``checker.check`` finds the anomalies.
"""
