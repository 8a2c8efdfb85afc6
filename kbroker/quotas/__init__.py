"""Client quotas without I/O: who is measured by which limit, what was used, for how long to hold whom back.

Kafka's ``ClientQuotaManager`` and its kin (KIP-13, 55, 124, 219, 257, 546, 599, 612).
"""
