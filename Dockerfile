# The one image of the operator, its workers and its tools. `make image` fills the build context:
#   pip/            pip itself, so that the base needs nothing but Python
#   dependencies/   wheels of requirements/runtime.txt, each checked against its hash
#   package/        our own wheel
# Nothing is fetched while it builds. The base is any image with Python 3.11 or newer and CA certificates.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS dependencies
# Not every builder sees that the content of a mount has changed: its hash says so.
ARG DEPENDENCIES_HASH
# `unchecked-hash`: bytecode is taken as it is, so that a read-only file system or a shifted file time
# never makes a pod compile at its start.
RUN --mount=type=bind,source=pip,target=/context/pip \
    --mount=type=bind,source=dependencies,target=/context/dependencies \
    python3 -m venv --without-pip /opt/weddingbackup \
 && python3 /context/pip --python /opt/weddingbackup/bin/python3 install --quiet \
      --no-index --no-deps --no-compile --no-cache-dir --disable-pip-version-check \
      --root-user-action=ignore /context/dependencies/*.whl \
 && /opt/weddingbackup/bin/python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash \
      /opt/weddingbackup/lib \
 && echo 'weddingbackup:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd

FROM dependencies
# Ours comes last and alone: while the dependencies stay, a build adds this layer only.
ARG PACKAGE_HASH
RUN --mount=type=bind,source=pip,target=/context/pip \
    --mount=type=bind,source=package,target=/context/package \
    python3 /context/pip --python /opt/weddingbackup/bin/python3 install --quiet \
      --no-index --no-deps --no-compile --no-cache-dir --disable-pip-version-check \
      --root-user-action=ignore /context/package/*.whl \
 && /opt/weddingbackup/bin/python3 -m compileall -q --invalidation-mode unchecked-hash \
      "$(/opt/weddingbackup/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/weddingbackup"
ENV PATH=/opt/weddingbackup/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["weddingbackup"]
