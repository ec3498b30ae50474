"""Measurements that the README and the docs quote; each is run as a module and prints its own figures."""
