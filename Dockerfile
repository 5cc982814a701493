# One image for every service; the command says which.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /opt/frame-gainsight
ENV PATH=/opt/frame-gainsight/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY . .
RUN pip install --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --system --create-home --uid 10001 frame
COPY --from=build /opt/frame-gainsight /opt/frame-gainsight
ENV PATH=/opt/frame-gainsight/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER frame
WORKDIR /home/frame
ENTRYPOINT ["frame-gainsight"]
CMD ["--help"]
