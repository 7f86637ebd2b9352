FROM base:1 AS build
COPY pom.xml /build/
WORKDIR /build
RUN --mount=type=cache,target=/root/.m2 mvn -B package -o target/app.jar
FROM base:1
ARG JAR=app.jar
COPY --from=build /build/target/${JAR} /opt/app/
WORKDIR /opt/app
ENTRYPOINT ["java", "-jar", "app.jar"]
CMD ["--server.port=8080"]
