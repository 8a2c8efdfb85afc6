"""The metadata quorum of a cluster of containers: an etcd member beside each controller, as Kafka's voters name them.

``voters.py`` reads the settings, ``formation.py`` decides how a voter begins, ``voter_port.py`` asks the others,
``membership.py`` takes a lost member's place, ``member.py`` runs etcd, ``nodes.py`` what a node is made of.
"""
