FROM base:1
SHELL ["/bin/sh", "-eu", "-c"]
RUN echo "$0" > /shell
ENTRYPOINT exec top -b
CMD ignored
