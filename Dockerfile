# The gateway as a static binary, as an ordinary user, in an empty image.
#   docker build -t rexgate .
#   docker run -p 8443:8443 -v rexgate:/data -v /etc/ssl/rexgate:/tls:ro \
#     -e REXGATE_REDIS=redis://redis:6379/0 -e REXGATE_TLS_CERT=/tls/cert.pem -e REXGATE_TLS_KEY=/tls/key.pem rexgate

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/ ./cmd/rexgate ./cmd/rexctl
RUN mkdir /out/data && chown 65532:65532 /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/rexgate /out/rexctl /usr/local/bin/
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
ENV PATH=/usr/local/bin REXGATE_DATA_DIR=/data REXGATE_LISTEN=:8443
VOLUME /data
EXPOSE 8443
ENTRYPOINT ["rexgate"]
CMD ["serve"]
