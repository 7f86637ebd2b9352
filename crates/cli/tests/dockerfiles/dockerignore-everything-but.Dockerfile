FROM base:1
COPY . /app
