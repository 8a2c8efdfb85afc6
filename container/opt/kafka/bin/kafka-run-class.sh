#!/opt/kbroker/bin/python
from kbroker.cli.scripts.run_class import main

main()
