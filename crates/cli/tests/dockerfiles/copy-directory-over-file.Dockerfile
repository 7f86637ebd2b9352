FROM base:1
RUN echo x > /d
COPY src /d
