FROM base:1
USER 1234:5678
RUN id -u > /var/tool/id; id -g >> /var/tool/id
WORKDIR /made/by/user
USER ann
WORKDIR next
RUN touch file
