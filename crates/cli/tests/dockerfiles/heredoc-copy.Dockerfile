FROM base:1
ARG WHO=world
COPY <<EOF /hello
hello $WHO
EOF
COPY --chmod=755 <<"EOF" <<second.conf /etc/app/
#!/bin/sh
echo $WHO
EOF
b = $WHO
second.conf
COPY <<file package.json /both/
text
file
