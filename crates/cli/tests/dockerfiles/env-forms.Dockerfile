FROM base:1
ENV ONE two three
ENV A=1 B="2 3" C=4\ 5
ENV A=changed D=$A
ENV PATH="/opt/bin:${PATH}"
RUN env | sort | grep -v -e HOSTNAME -e PWD -e SHLVL > /env
