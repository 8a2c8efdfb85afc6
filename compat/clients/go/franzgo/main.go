// Command franzgo drives github.com/twmb/franz-go for compat/clients/driver.py.
package main

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"kbroker/compat/clients/lines"
)

type driver struct {
	producers lines.Named[*producer]
	consumers lines.Named[*consumer]
}

func main() {
	d := &driver{lines.Named[*producer]{}, lines.Named[*consumer]{}}
	lines.Serve(lines.Handlers{
		"hello": func(*lines.Request) (any, error) {
			return lines.Hello("franz-go", "github.com/twmb/franz-go", map[string]string{}), nil
		},
		"create_topic":       createTopic,
		"create_partitions":  createPartitions,
		"list_topics":        listTopics,
		"describe_topic":     describeTopic,
		"describe_config":    describeConfig,
		"alter_config":       alterConfig,
		"delete_topic":       deleteTopic,
		"list_groups":        listGroups,
		"delete_group":       deleteGroup,
		"producer":           d.newProducer,
		"send":               d.send,
		"begin":              d.begin,
		"commit_transaction": d.commitTransaction,
		"abort":              d.abort,
		"send_offsets":       d.sendOffsets,
		"close_producer":     d.closeProducer,
		"consumer":           d.newConsumer,
		"poll":               d.poll,
		"seek_to_time":       d.seekToTime,
		"commit":             d.commit,
		"rebalances":         d.rebalances,
		"close_consumer":     d.closeConsumer,
	}, nameOf)
	for _, c := range d.consumers {
		c.close()
	}
	for _, p := range d.producers {
		p.close()
	}
}

func nameOf(err error) string {
	var kafka *kerr.Error
	switch {
	case errors.As(err, &kafka):
		return kafka.Message
	case errors.Is(err, context.DeadlineExceeded):
		return "Timeout"
	}
	return "Error"
}
