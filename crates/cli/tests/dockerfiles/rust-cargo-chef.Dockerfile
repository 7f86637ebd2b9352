FROM base:1 AS planner
WORKDIR /app
COPY . .
RUN cargo chef prepare -o recipe.json
FROM base:1 AS builder
WORKDIR /app
COPY --from=planner /app/recipe.json recipe.json
RUN cargo chef cook -o target/release/app
FROM base:1
COPY --from=builder /app/target/release/app /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/app"]
