"""What people and parts say to each other: the kinds of our API group, and what workers are told and tell.

Pure data: nothing here reads, writes, waits or decides.
"""
