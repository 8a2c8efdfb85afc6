// Command sarama drives github.com/IBM/sarama for compat/clients/driver.py.
package main

import (
	"errors"

	"github.com/IBM/sarama"

	"kbroker/compat/clients/lines"
)

var unsupported = map[string]string{
	"rebalances": "its handler is told of each claim alone; with a cooperative strategy it has no word for a rebalance",
}

type driver struct {
	producers lines.Named[*producer]
	consumers lines.Named[consumer]
}

func main() {
	d := &driver{lines.Named[*producer]{}, lines.Named[consumer]{}}
	lines.Serve(lines.Handlers{
		"hello": func(*lines.Request) (any, error) {
			return lines.Hello("sarama", "github.com/IBM/sarama", unsupported), nil
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
		"close_consumer":     d.closeConsumer,
	}, nameOf)
	for _, c := range d.consumers {
		c.close()
	}
	for _, p := range d.producers {
		_ = p.Close()
	}
}

// settings are the library's own but for the version, which it asks its users to set to the cluster's.
func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	return config
}

func nameOf(err error) string {
	var code sarama.KError
	var several sarama.ProducerErrors
	switch {
	case errors.As(err, &several) && len(several) > 0:
		return nameOf(several[0].Err)
	case errors.As(err, &code):
		return lines.ErrorName(int16(code))
	}
	return "Error"
}
