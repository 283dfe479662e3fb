# smat in a container; docs/cluster.md says how it is built and run.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

# Index that PyTorch is installed from, where not pip's own; and extras of smat, such as app,export.
ARG TORCH_INDEX=
ARG EXTRAS=

WORKDIR /opt/smat
COPY constraints.txt ./
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} --constraint constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --constraint constraints.txt ".${EXTRAS:+[$EXTRAS]}" \
    && mkdir --mode 1777 /cache /work

# Networks and data sets that are downloaded, for whoever the container runs as.
ENV HOME=/cache HF_HOME=/cache/huggingface MPLCONFIGDIR=/cache/matplotlib
VOLUME /cache
USER 1000
WORKDIR /work
ENTRYPOINT ["smat"]
CMD ["--help"]
