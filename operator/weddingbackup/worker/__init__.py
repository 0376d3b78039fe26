"""What runs in Job pods: backup and restore with a vault's keys, copy and erase without any.

A worker has no right in Kubernetes. It reads its task from its environment, says how far it is on
standard output, leaves its report where the kubelet finds it, and ends with a code that says
whether trying again can help. It may be killed at any moment: the next attempt goes on.
"""
