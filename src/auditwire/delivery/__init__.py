"""From the journal to the broker: one background thread numbers, digests and produces what was accepted.

In come records from a journal; out go Kafka records, acknowledgements back to the journal, and the control
records that say what happened. Nothing else in the package touches a producer.
"""
