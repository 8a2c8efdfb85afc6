"""Drivers of the Node.js clients, with the packages that ``package-lock.json`` fixes."""
