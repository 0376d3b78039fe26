"""Names that stand in Kubernetes objects: changing one strands what is already in a cluster."""

from typing import Final

GROUP: Final = "backup.wedsync.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "weddings"

LABEL_POLICY: Final = f"{GROUP}/policy"
LABEL_JOB: Final = f"{GROUP}/backup-job"
LABEL_REQUEST: Final = f"{GROUP}/recovery-request"
LABEL_SOURCE: Final = f"{GROUP}/source"
LABEL_LOCATION: Final = f"{GROUP}/location"
LABEL_VAULT: Final = f"{GROUP}/vault"
LABEL_TASK: Final = f"{GROUP}/task"
"""What a worker's Job does: backup, restore, copy or erase."""

ANNOTATION_PREFIX: Final = GROUP
"""Kopf keeps its progress and the last handled spec in annotations below this prefix."""

FINALIZER: Final = f"{GROUP}/protect"

MANAGER: Final = "wedding-backup-operator"
"""Field manager, source of events, and the value of app.kubernetes.io/managed-by."""

WORKER_ACCOUNT: Final = "weddingbackup-worker"
"""The ServiceAccount of workers, the same name in every namespace; it has no right in Kubernetes."""

LABEL_OWNER: Final = f"{GROUP}/owner-uid"
"""On Jobs in the operator's namespace that work for an object elsewhere: the object's UID."""
