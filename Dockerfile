# The demo, as a user without rights: docker build -t ictmri . && docker run --name ictmri ictmri
# What it made: docker cp ictmri:/home/ictmri/out .
FROM python:3.11-slim
COPY . /src
RUN pip install --no-cache-dir -c /src/constraints.txt torch \
 && pip install --no-cache-dir -c /src/constraints.txt "/src[baselines]"
RUN useradd --create-home ictmri
USER ictmri
WORKDIR /home/ictmri
ENTRYPOINT ["ictmri"]
CMD ["demo"]
