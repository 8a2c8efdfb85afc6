#!/opt/kbroker/bin/python
from kbroker.cli.scripts.cluster import main

main()
