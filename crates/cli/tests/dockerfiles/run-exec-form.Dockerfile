FROM base:1
RUN ["/bin/sh", "-c", "echo $HOME > /exec"]
RUN [ "touch", "/with space" ]
