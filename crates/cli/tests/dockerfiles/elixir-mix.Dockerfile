FROM base:1 AS build
ENV MIX_ENV=prod
WORKDIR /app
RUN mix local.hex --force && mix release -o _build/prod/app
FROM base:1
WORKDIR /app
COPY --from=build --chown=ann:staff /app/_build/prod ./
USER ann:staff
ENV HOME=/app
CMD ["bin/server"]
