"""The same requests to Apache Kafka and to the broker that is judged; their answers field by field.

    pytest compat/wire                          every case at every version
    pytest compat/wire -k "CreateTopics and v5"

``cases/`` says what is sent, one module for each family of APIs, named as in ``wire/messages``. A ``Case`` runs once on
either broker, and every exchange that it asked for is compared (``comparison.py``). What may differ, and why, stands in
``allowed.py``; what differs and should not, or does so on purpose, in ``known.py``, where every entry is an expected
failure that must go on failing.
"""
