# The API: no torch, no ray.
FROM python:3.11-slim-bookworm

RUN groupadd --gid 10001 soupsearch \
 && useradd --uid 10001 --gid 10001 --create-home soupsearch \
 && install -d -o soupsearch -g soupsearch /data

ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/soupsearch

# Install the libraries before copying the sources, so that a change of sources alone keeps this layer.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir search service workers lab soupsearch \
 && pip install --constraint constraints.txt '.[api]' \
 && pip uninstall --yes soupsearch

COPY search search
COPY service service
COPY workers workers
COPY lab lab
COPY soupsearch soupsearch
RUN pip install --no-deps .

USER 10001:10001
ENV PYTHONUNBUFFERED=1 SOUPSEARCH_DATA_DIR=/data
VOLUME /data
EXPOSE 8000
CMD ["soupsearch", "api"]
