# escape=`
FROM base:1
RUN echo one `
    two > /escaped
ENV A=c:\dir
