FROM base:1
HEALTHCHECK --interval=30s --timeout=3s --start-period=1m --retries=5 CMD curl -f http://localhost/ || exit 1
