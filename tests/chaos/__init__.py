"""The chaos test: brokers and etcd members on hosts of their own, a nemesis, clients, and the checker of histories.

    network      hosts as network namespaces; packets dropped and links slowed
    cluster      the processes of brokers and etcd members
    faults       what can be done to a cluster, and which of it is drawn next (plain decisions)
    nemesis      does it, undoes it, and keeps the time
    clients      producers, readers, group members and transformers: processes that record what they did and saw
    workshop     starts, kills and pauses client processes
    aftermath    waits for quiet, reads everything that is left, compares the replicas
    availability what the producers' acknowledgements tell of outages
    run          all of it in order

It needs root for the namespaces. They have no names and die with the processes in them, which die with the test.
"""
