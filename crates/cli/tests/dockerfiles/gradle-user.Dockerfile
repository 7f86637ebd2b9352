FROM base:1
USER ann
WORKDIR /home/ann/project
RUN gradle build -o out.jar
