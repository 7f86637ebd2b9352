FROM base:1
COPY --chmod=u+x,go-r package.json /a
COPY --chmod=a=rX src /b
COPY --chmod=go= --chown=3:4 config /c
