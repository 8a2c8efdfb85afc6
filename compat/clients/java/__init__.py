"""The Java client, newest and oldest: one driver, compiled against each."""
