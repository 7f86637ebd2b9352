FROM base:1 AS build
WORKDIR /source
COPY src/*.c ./
RUN dotnet publish -c release -o /app/app.dll
FROM base:1
WORKDIR /app
COPY --from=build /app .
ENTRYPOINT ["dotnet", "app.dll"]
