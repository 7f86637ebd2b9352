FROM base:1
LABEL ключ="значение"
ENV GREETING="héllo wörld"
RUN echo "$GREETING" > "/ümlaut file"
COPY <<"ФАЙЛ" /текст
текст $GREETING
ФАЙЛ
