"""Writes records that were read back somewhere else: as lines of JSON, or onto the topics of another trail.

In come the records of a :class:`~auditwire.reading.Reader`, out go lines, or Kafka records with the same
bytes; a state to go on from; and a manifest that says what a copy has to hold.

======== ====================================================================================================
replay   the loop: reads, writes, remembers how far
lines    the lines' way out: a file, compressed or not, or a stream
copying  the records' way out: a producer
target   the topics of a copy: found, made, and refused where they would not keep what is written
tally    what was replayed: counts, places, and a digest for each stream
manifest the tally as a document, and the comparison of a copy with it
state    how far a replay is
files    a file that is replaced whole
======== ====================================================================================================
"""
