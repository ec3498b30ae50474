"""The brokers that tests run against: found, started, broken on purpose, and removed.

In come the environment (a cluster's address, a forced tier) and what the machine has (a container engine, a
JDK); out come the fixtures of `rig.plugin` and one line at the end of the run that says which tier it was.
"""
