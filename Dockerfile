# syntax=docker/dockerfile:1
# Three images from one file: `planner` (no torch), `worker` and `trainer`. compose.yaml builds them.

FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN useradd --uid 10001 --create-home ladle && install --directory --owner ladle --group ladle /data /models
WORKDIR /app
COPY pyproject.toml constraints.txt ./
# Dependencies come before the sources, so that a changed source does not install them again.
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
               print('\n'.join(p['dependencies'])); \
               [print('\n'.join(p['optional-dependencies'][extra]), file=open(extra + '.txt', 'w')) \
                for extra in ('worker', 'train', 'serve')]" > base.txt \
    && pip install --constraint constraints.txt --requirement base.txt

FROM base AS planner
RUN pip install --constraint constraints.txt --requirement serve.txt
COPY . .
RUN pip install --no-deps .
USER ladle
CMD ["ladle", "planner"]

FROM base AS torch
# Empty: the default build of the package index. See .env.example.
ARG TORCH_INDEX_URL=
RUN pip install --constraint constraints.txt ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch

FROM torch AS worker
RUN pip install --constraint constraints.txt --requirement worker.txt
COPY . .
RUN pip install --no-deps .
USER ladle
CMD ["ladle", "worker", "--help"]

FROM torch AS trainer
RUN pip install --constraint constraints.txt --requirement train.txt
COPY . .
RUN pip install --no-deps .
USER ladle
CMD ["ladle", "retrain", "--help"]
