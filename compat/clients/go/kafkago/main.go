// Command kafkago drives github.com/segmentio/kafka-go for compat/clients/driver.py.
package main

import (
	"errors"

	"github.com/segmentio/kafka-go"

	"kbroker/compat/clients/lines"
)

var unsupported = map[string]string{
	"idempotent":   "its Writer has no producer id: record batches carry none, and there is no such setting",
	"transactions": "its Writer has no transactions; the Client has the bare requests, but no records that carry a producer id",
	"exactly_once": "its Writer has no transactions",
	"cooperative":  "its group balancers (range, round robin, rack affinity) are all eager, and it has no other protocol",
	"static":       "its Reader and ConsumerGroup have no group.instance.id",
	"rebalances":   "its Reader has no callbacks for rebalances",
}

type driver struct {
	producers lines.Named[*producer]
	consumers lines.Named[consumer]
}

func main() {
	d := &driver{lines.Named[*producer]{}, lines.Named[consumer]{}}
	lines.Serve(lines.Handlers{
		"hello": func(*lines.Request) (any, error) {
			return lines.Hello("kafka-go", "github.com/segmentio/kafka-go", unsupported), nil
		},
		"create_topic":      createTopic,
		"create_partitions": createPartitions,
		"list_topics":       listTopics,
		"describe_topic":    describeTopic,
		"describe_config":   describeConfig,
		"alter_config":      alterConfig,
		"delete_topic":      deleteTopic,
		"list_groups":       listGroups,
		"delete_group":      deleteGroup,
		"producer":          d.newProducer,
		"send":              d.send,
		"close_producer":    d.closeProducer,
		"consumer":          d.newConsumer,
		"poll":              d.poll,
		"seek_to_time":      d.seekToTime,
		"commit":            d.commit,
		"close_consumer":    d.closeConsumer,
	}, nameOf)
	for _, c := range d.consumers {
		_ = c.close()
	}
	for _, p := range d.producers {
		_ = p.close()
	}
}

func nameOf(err error) string {
	var code kafka.Error
	var several kafka.WriteErrors
	switch {
	case errors.As(err, &code):
		return lines.ErrorName(int16(code))
	case errors.As(err, &several):
		for _, one := range several {
			if one != nil {
				return nameOf(one)
			}
		}
	}
	return "Error"
}
