FROM base:1
RUN apt-get update && apt-get install -y --no-install-recommends \
        curl \
        # a comment in the middle
        ca-certificates \
    && rm -rf /var/lib/apt/lists/*
