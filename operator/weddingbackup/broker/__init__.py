"""Hands a worker what its one job needs: signed requests, the keys of its classes, rows of a shared database."""
