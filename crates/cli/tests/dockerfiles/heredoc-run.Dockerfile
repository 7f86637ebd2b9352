# syntax=docker/dockerfile:1.7
FROM base:1
RUN <<EOF
set -e
echo one > /one
echo "two $HOME" > /two
EOF
RUN cat <<A > /three && cat <<B > /four
three
A
four
B
RUN <<-"EOT"
	echo '$quoted' > /five
EOT
