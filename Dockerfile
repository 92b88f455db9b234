# One image for web, worker, beat and inference; the command chooses.
FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
COPY requirements requirements
# A CUDA machine takes torch from requirements/torch.txt as it is; give TORCH_ARGS an index for another build.
ARG TORCH_ARGS=""
# Text recognition for scanned pages: --build-arg OCR=1 (270 MB).
ARG OCR=""
RUN pip install -r requirements/torch.txt ${TORCH_ARGS} \
 && pip install --require-hashes -r requirements/lock.txt \
 && if [ -n "$OCR" ]; then pip install --require-hashes -r requirements/ocr-lock.txt; fi
COPY manage.py pyproject.toml ./
COPY config config
COPY tenants tenants
COPY inference inference
COPY search search
COPY ingestion ingestion
COPY templates templates
COPY static static
# Each file is read in a fresh process, which would otherwise compile its modules anew.
RUN python -m compileall -q ingestion
RUN useradd --system --uid 10001 --home-dir /app tessera \
 && mkdir -p /data /models /cache && chown tessera /data /models /cache
ENV TESSERA_VAR_DIR=/data TESSERA_MODELS_DIR=/models XDG_CACHE_HOME=/cache
USER tessera
# The kernels choose their instruction set where they run, so they are built once, here.
RUN python -m inference.kernels
VOLUME ["/data", "/models"]
EXPOSE 8000
CMD ["uvicorn", "config.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--proxy-headers", "--no-access-log"]
