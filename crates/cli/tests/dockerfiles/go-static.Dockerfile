# syntax=docker/dockerfile:1
FROM base:1 AS build
WORKDIR /src
COPY go.mod ./
RUN go mod download
COPY src ./src
ARG TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /out/app ./src

FROM scratch
COPY --from=build /out/app /app
USER 65532:65532
ENTRYPOINT ["/app"]
