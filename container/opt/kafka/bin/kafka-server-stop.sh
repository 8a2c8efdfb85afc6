#!/opt/kbroker/bin/python
from kbroker.cli.scripts.server_stop import main

main()
