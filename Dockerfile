# The worker's image. `docker build .` makes it for one NVIDIA L4, without weights: mount them at /models (MODEL_DIR), or let
# MODEL_DIR or WEIGHTS say where they are.
#
#   MODEL=none|demo|Q8_0|Q6_K|Q5_K_S|Q4_K_S   which weights are in the image; the last four are fetched, with the build secret
#                                             hf_token where their publisher asks for one:
#                                             docker build --secret id=hf_token,src=FILE --build-arg MODEL=Q8_0 .
#   TEXT=t5|pack       the text encoders, or a pack of all prompts that the worker itself makes, computed by them here
#   BACKEND=cuda|cpu   with cpu, and BASE=debian:bookworm RUNTIME=debian:bookworm-slim, an image for machines without a GPU
#   BASE, RUNTIME      where the program is built, and what it runs on: the same distribution, for both must have the same glibc
#   VERSION, COMMIT    what --version says; COMMIT="$(git describe --always --dirty --abbrev=12)"
#   CREATED, SOURCE    labels: the time, as in RFC 3339, and the address of the repository
#   --target test      runs the unit tests; TESTS="parts of names" runs some of them
#
# Weights are layers below the program, one file a layer: whoever changes the code pushes and pulls a few megabytes. A layer keeps
# its digest for as long as the builder has its cache. A builder without one makes the same files, but not the same time of the
# folder, and so another layer. There, either bring the cache along (`--cache-from IMAGE`, with BUILDKIT_INLINE_CACHE=1 as a build
# argument of every build), or build once with weights, and from then on upon that image:
#   docker build --build-arg RUNTIME=IMAGE-WITH-WEIGHTS --build-arg MODEL=none .
#
# Needs BuildKit (DOCKER_BUILDKIT=1), or buildah, which wants MODEL and TEXT on its command line even where they are the defaults.
#
# Both bases are pinned: `docker buildx imagetools inspect nvidia/cuda:12.6.3-devel-ubuntu24.04` prints the digest of a newer one.
# CUDA 12 is for the driver of Cloud Run (535).
ARG BASE=nvidia/cuda:12.6.3-devel-ubuntu24.04@sha256:392c0df7b577ecae17a17f6ba7f2009c217bb4422f8431c053ae9af61a8c148a
ARG RUNTIME=ubuntu:24.04@sha256:008173c23f95b170204355c12626cb5a965d779a7e1283b09e9cffbb1bf33ca3
ARG MODEL=none
ARG TEXT=t5

# ---- the program ----

FROM ${BASE} AS tools
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
COPY scripts/install_deps.sh scripts/cuda_paths.sh scripts/
RUN scripts/install_deps.sh build && rm -rf /var/lib/apt/lists/*

FROM tools AS compiled
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
COPY Makefile ./
# The kernels first: they change least, and those for CUDA take by far the most time.
COPY kernels kernels
RUN make -j"$(nproc)" build/release/libkernels.a
COPY models models
COPY worker worker
# Without its commit, so that a commit that changes no code finds everything in the cache, the prompt pack as well.
ARG BACKEND=cuda
RUN make -j"$(nproc)" COMMIT= build/inpaint-worker \
    && { [ "${BACKEND}" != cuda ] || build/inpaint-worker --version | grep -q cuda \
         || { echo "BACKEND=cuda needs a BASE with nvcc and cuBLASLt, and there is neither in this one" >&2; exit 1; }; }

FROM compiled AS build
COPY scripts/image/collect.sh scripts/image/notices.sh scripts/image/
ARG VERSION=
ARG COMMIT=
RUN make -j"$(nproc)" COMMIT="${COMMIT}" VERSION="${VERSION}" build/inpaint-worker && scripts/image/collect.sh /out

# The only library of CUDA that the program loads (kernels/cuda/cublaslt.c); the runtime library is linked into it.
FROM tools AS cublaslt
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ARG BACKEND=cuda
RUN mkdir -p /out && { [ "${BACKEND}" != cuda ] \
    || cp -pL "$(scripts/cuda_paths.sh | sed -n 's/^CUBLASLT_LIB := //p')"/libcublasLt.so.[0-9][0-9] /out/; } \
    && touch -d @0 /out

# ---- the weights: a folder for each layer ----

FROM ${BASE} AS weights-none
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN mkdir -p /parts/vae /parts/clip /parts/t5 /parts/tokenizers /parts/pack /parts/transformer /parts/licences \
    && find /parts -exec touch -d @0 {} +

FROM weights-none AS weights-demo
COPY models/demo /demo
# Files that are made anew have the same time, so that their layers have the same digest.
RUN cp /demo/*.gguf /parts/transformer/ && cp /demo/ae.safetensors /parts/vae/ && cp /demo/prompts.safetensors /parts/pack/ \
    && find /parts -exec touch -d @0 {} +

FROM weights-none AS fetched
WORKDIR /src
COPY scripts/install_deps.sh scripts/
RUN scripts/install_deps.sh ca-certificates curl && rm -rf /var/lib/apt/lists/*
COPY scripts/fetch_weights.sh scripts/weights.json scripts/
COPY scripts/image/fetch_part.sh scripts/image/
# Only for a mirror of Hugging Face.
ARG HF_ENDPOINT=
# One command, and so one step of the cache, for each part: whoever takes another transformer fetches that one alone.
RUN --mount=type=secret,id=hf_token scripts/image/fetch_part.sh vae
# hadolint ignore=DL3059
RUN --mount=type=secret,id=hf_token scripts/image/fetch_part.sh clip
# hadolint ignore=DL3059
RUN --mount=type=secret,id=hf_token scripts/image/fetch_part.sh tokenizers
# hadolint ignore=DL3059
RUN --mount=type=secret,id=hf_token scripts/image/fetch_part.sh t5
ARG MODEL
RUN --mount=type=secret,id=hf_token scripts/image/fetch_part.sh transformer

FROM fetched AS weights-Q8_0
FROM fetched AS weights-Q6_K
FROM fetched AS weights-Q5_K_S
FROM fetched AS weights-Q4_K_S
# hadolint ignore=DL3006
FROM weights-${MODEL} AS weights

FROM weights AS text-t5

FROM compiled AS text-pack
COPY --from=weights /parts/clip/ /text/
COPY --from=weights /parts/tokenizers/ /text/
COPY --from=weights /parts/t5/ /text/
COPY --from=weights /parts/pack/ /parts/pack/
RUN mkdir -p /parts/clip /parts/t5 /parts/tokenizers && { [ -z "$(ls /text)" ] \
    || build/inpaint-worker embed --models /text --pack --prompts builtin --out /parts/pack/prompts.safetensors; } \
    && find /parts -exec touch -d @0 {} +

# hadolint ignore=DL3006
FROM text-${TEXT} AS text

# ---- the tests ----

FROM compiled AS test
RUN scripts/install_deps.sh test && rm -rf /var/lib/apt/lists/*
COPY . .
ARG TESTS=
RUN make test T="${TESTS}"

# ---- the image ----

# Nothing runs in this stage: the base may be one without a shell.
FROM ${RUNTIME}
COPY --from=cublaslt /out/ /usr/local/lib/inpaint/
COPY --from=weights /parts/licences/ /usr/share/doc/inpaint-worker/
COPY --from=weights /parts/vae/ /models/
COPY --from=text /parts/clip/ /models/
COPY --from=text /parts/tokenizers/ /models/
COPY --from=text /parts/t5/ /models/
COPY --from=weights /parts/transformer/ /models/
COPY --from=text /parts/pack/ /models/
COPY --from=build /out/root/ /
COPY --from=build /out/lib/ /usr/local/lib/inpaint/
COPY --from=build /out/doc/ /usr/share/doc/inpaint-worker/
COPY --from=build /out/bin/ /usr/local/bin/
# BACKEND is not auto: a GPU that is missing, or whose driver does not answer, ends the start instead of leaving the work to the
# CPU. Cloud Run mounts the libraries of the driver at /usr/local/nvidia. OMP_WAIT_POLICY spares the program a second start, by
# which it would set the policy itself.
ARG BACKEND=cuda
ENV LD_LIBRARY_PATH=/usr/local/lib/inpaint:/usr/local/nvidia/lib64 PORT=8080 MODEL_DIR=/models BACKEND=${BACKEND} \
    OMP_WAIT_POLICY=passive
ARG VERSION=
ARG COMMIT=
ARG CREATED=
ARG SOURCE=
LABEL org.opencontainers.image.title="inpaint-worker" \
      org.opencontainers.image.description="Removes a masked object from a photo with FLUX.1-Fill, for Google Pub/Sub pushes" \
      org.opencontainers.image.licenses="NOASSERTION" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.created="${CREATED}"
# By number, because the base need not know a name for it. The file system may be read-only.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# There is no HEALTHCHECK: Cloud Run and Kubernetes have probes of their own (GET /ready, GET /health) and take none from images.
ENTRYPOINT ["/usr/local/bin/inpaint-worker"]
CMD ["serve"]
