FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /jarvis-gateway ./cmd/jarvis-gateway
RUN mkdir /data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /jarvis-gateway /jarvis-gateway
# What must outlive a restart is written below here; a directory that is mounted in its place must be open to this user.
COPY --from=build --chown=65532:65532 /data /data
VOLUME /data
WORKDIR /data
USER 65532:65532
# The data plane must be reachable from outside the container; the admin port stays inside unless the config says otherwise.
EXPOSE 8080
ENTRYPOINT ["/jarvis-gateway"]
CMD ["serve", "/etc/jarvis/jarvis.yml"]
