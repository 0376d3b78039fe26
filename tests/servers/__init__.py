"""Real servers for tests and demo: object stores, PostgreSQL, and a proxy that puts faults in front.

Each is a context manager that starts one process on a given host address and a free port, keeps
its data below a given folder, yields once it answers, and ends it. A process never outlives the
one that started it, however that ends; `python -m tests.servers start` keeps a set of them up.
"""
