FROM base:1 AS tools
RUN mkdir /t && echo tool > /t/tool
FROM base:1
RUN --mount=type=bind,target=/ctx cp /ctx/package.json /from-context
RUN --mount=type=bind,from=tools,source=/t,target=/mnt/t cp /mnt/t/tool /from-stage
RUN --mount=type=tmpfs,target=/scratch echo x > /scratch/gone
RUN --mount=type=cache,target=/cache,uid=1000,mode=0770 stat -c '%u %a' /cache > /cache-stat
RUN --mount=type=bind,source=src,target=/w,rw touch /w/lost && test -f /w/lost
