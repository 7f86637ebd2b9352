# a comment

   # indented
from base:1
# another
run echo lower > /case && \

    # inside
    echo more >> /case
Cmd ["x"]
