#!/opt/kbroker/bin/python
from kbroker.cli.scripts.metadata_quorum import main

main()
