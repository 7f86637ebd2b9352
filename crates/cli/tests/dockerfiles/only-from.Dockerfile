FROM base:1
