FROM base:1
COPY --exclude=lib --exclude=*.c src /a
COPY --exclude=**/data src /b
COPY --exclude=* --exclude=!*.py src /c/
