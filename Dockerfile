# The worker's image. Weights are not in it: mount or copy them to /models (MODEL_DIR).
#
# The base image is CUDA 12, for the L4 of Cloud Run (driver 535). With BASE=debian:bookworm, RUNTIME=debian:bookworm-slim
# and BACKEND=cpu the same file makes an image for machines without a GPU.
ARG BASE=nvidia/cuda:12.6.3-devel-ubuntu24.04
ARG RUNTIME=nvidia/cuda:12.6.3-runtime-ubuntu24.04

FROM ${BASE} AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
COPY scripts scripts
RUN scripts/install_deps.sh build && rm -rf /var/lib/apt/lists/*
COPY Makefile ./
COPY kernels kernels
COPY models models
COPY worker worker
# What --version and the log say, for the image holds no git: --build-arg COMMIT="$(git describe --always --dirty --abbrev=12)"
ARG COMMIT=
# libheif finds its decoder for HEIC at a fixed place, as a file of its own, where the system has it so.
RUN make -j"$(nproc)" COMMIT="${COMMIT}" build/inpaint-worker && strip build/inpaint-worker \
    && mkdir -p /out/lib /out/root \
    && { find /usr/lib -path '*/libheif/*' -name '*libde265.so' > /out/plugins; xargs -r cp --parents -t /out/root < /out/plugins; } \
    && xargs ldd build/inpaint-worker < /out/plugins | awk '$3 ~ /^\// && $3 !~ /cuda|nvidia/ {print $3}' \
       | grep -vE '/(libc|libm|libpthread|libdl|librt|libresolv|ld-linux[^/]*)\.so' | xargs -I{} cp -L {} /out/lib/ \
    && cp build/inpaint-worker /out/

FROM ${RUNTIME}
# Not auto: a GPU that is missing, or whose driver does not answer, ends the start instead of leaving the work to the CPU.
ARG BACKEND=cuda
RUN useradd --system --uid 10001 --no-create-home worker
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/lib/ /usr/local/lib/inpaint/
COPY --from=build /out/root/ /
COPY --from=build /out/inpaint-worker /usr/local/bin/inpaint-worker
# Cloud Run mounts the libraries of the driver at /usr/local/nvidia. OMP_WAIT_POLICY spares the program a second start,
# by which it would set the policy itself.
ENV LD_LIBRARY_PATH=/usr/local/lib/inpaint:/usr/local/nvidia/lib64 PORT=8080 MODEL_DIR=/models BACKEND=${BACKEND} \
    OMP_WAIT_POLICY=passive
USER 10001
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/inpaint-worker"]
CMD ["serve"]
