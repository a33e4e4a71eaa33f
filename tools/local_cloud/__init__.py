"""A cloud on loopback for the worker: Firestore, Cloud Storage, Pub/Sub push and an issuer of tokens, in one process.

It has the parts of each service that the worker and an app use, and is strict where the real ones are: preconditions,
checksums, generations, signed tokens, redelivery. Everything is in memory. Standard library only; Python 3.9 or newer.
"""
