# The API: no torch, no ray.
FROM python:3.11-slim-bookworm

RUN groupadd --gid 10001 soupsearch \
 && useradd --uid 10001 --gid 10001 --create-home soupsearch \
 && install -d -o soupsearch -g soupsearch /data

WORKDIR /opt/soupsearch
COPY pyproject.toml constraints.txt README.md ./
COPY search search
COPY service service
COPY workers workers
RUN pip install --no-cache-dir --constraint constraints.txt .

USER 10001:10001
ENV PYTHONUNBUFFERED=1 SOUPSEARCH_DATA_DIR=/data
VOLUME /data
EXPOSE 8000
CMD ["soupsearch", "api"]
