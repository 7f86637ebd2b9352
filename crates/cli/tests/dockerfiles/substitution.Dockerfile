FROM base:1
ENV V=a.b.c
ENV P1=${V#*.} P2=${V##*.} P3=${V%.*} P4=${V%%.*} P5=${V/./-} P6=${V//./-}
ENV BACK=\$V QUOTED='${V}' NEST=${MISSING:-${V}}
