#!/opt/kbroker/bin/python
from kbroker.cli.scripts.server_start import main

main()
