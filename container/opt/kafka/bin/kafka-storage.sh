#!/opt/kbroker/bin/python
from kbroker.cli.scripts.storage import main

main()
