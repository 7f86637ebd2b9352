FROM base:1
ENV PYTHONUNBUFFERED=1
WORKDIR /code
COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt
COPY src/app.py .
CMD python app.py
