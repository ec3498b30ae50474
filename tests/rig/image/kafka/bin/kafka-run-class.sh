#!/usr/bin/env bash
# Runs one class of the distribution; every tool script here is a link to "tool", which ends up here.
home=${0%/*}/..
cp=; for jar in "$home"/libs/*.jar; do cp=$cp:$jar; done      # sorted: the class archive depends on the order
jsa=(); [ -f "$home/kafka.jsa" ] && jsa=("-XX:SharedArchiveFile=$home/kafka.jsa")
exec java ${KAFKA_HEAP_OPTS:--Xmx256m} ${KAFKA_JVM_PERFORMANCE_OPTS:--server -XX:+UseG1GC -XX:TieredStopAtLevel=4} \
  "${jsa[@]}" -Djava.awt.headless=true -Dkafka.logs.dir=/tmp \
  ${KAFKA_LOG4J_OPTS:--Dlog4j2.configurationFile=$home/etc/tools-log4j2.yaml} ${KAFKA_OPTS:-} \
  -cp "${cp#:}" "$@"
