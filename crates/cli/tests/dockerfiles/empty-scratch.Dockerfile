FROM scratch
ENV A=b
WORKDIR /w
