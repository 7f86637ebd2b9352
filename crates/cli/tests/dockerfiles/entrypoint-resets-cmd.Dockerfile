FROM base:1 AS a
CMD ["from", "base"]
FROM a
ENTRYPOINT ["/bin/sh"]
