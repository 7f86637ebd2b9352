FROM base:1
RUN <<EOF
#!/bin/sh -e
echo script > /script
id -u >> /script
EOF
