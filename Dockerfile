FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /jarvis-gateway ./cmd/jarvis-gateway

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /jarvis-gateway /jarvis-gateway
USER 65532:65532
# The data plane must be reachable from outside the container; the admin port stays inside unless the config says otherwise.
EXPOSE 8080
ENTRYPOINT ["/jarvis-gateway"]
CMD ["serve", "/etc/jarvis/jarvis.yml"]
