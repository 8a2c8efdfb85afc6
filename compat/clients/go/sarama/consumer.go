package main

import (
	"context"

	"github.com/IBM/sarama"

	"kbroker/compat/clients/lines"
)

// consumer is one of the library's two kinds: a member of a group, or a reader of assigned partitions.
type consumer interface {
	records() <-chan *sarama.ConsumerMessage
	held() []lines.TopicPartition
	seekToTime(topic string, partition int32, timestampMS int64) (int64, error)
	// returned takes note of what a poll hands out.
	returned(message *sarama.ConsumerMessage)
	commit() error
	close()
}

func (d *driver) newConsumer(r *lines.Request) (any, error) {
	config := settings()
	if r.Isolation == "read_committed" {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	if r.FetchBytesMax != 0 {
		config.Consumer.Fetch.Default = r.FetchBytesMax
	}
	var made consumer
	var err error
	if r.Group != "" {
		made, err = newGroupConsumer(r, config)
	} else {
		made, err = newAssignedConsumer(r, config)
	}
	if err != nil {
		return nil, err
	}
	d.consumers[r.Name] = made
	return lines.Nothing{}, nil
}

func (d *driver) poll(r *lines.Request) (any, error) {
	c, err := d.consumers.Get("consumer", r.Consumer)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.Timeout())
	defer cancel()
	records := []lines.Consumed{}
	for len(records) < r.Count && ctx.Err() == nil {
		select {
		case message := <-c.records():
			c.returned(message)
			records = append(records, consumed(message))
		case <-ctx.Done():
		}
	}
	return lines.Polled{Records: records, Assignment: c.held()}, nil
}

func consumed(message *sarama.ConsumerMessage) lines.Consumed {
	headers := []lines.Header{}
	for _, header := range message.Headers {
		headers = append(headers, lines.Header{Name: string(header.Key), Value: header.Value})
	}
	return lines.Consumed{
		Topic: message.Topic, Partition: message.Partition, Offset: message.Offset, Key: message.Key,
		Value: message.Value, Headers: headers, TimestampMS: message.Timestamp.UnixMilli(),
	}
}

func (d *driver) seekToTime(r *lines.Request) (any, error) {
	c, err := d.consumers.Get("consumer", r.Consumer)
	if err != nil {
		return nil, err
	}
	offset, err := c.seekToTime(r.Topic, r.Partition, r.TimestampMS)
	return map[string]int64{"offset": offset}, err
}

func (d *driver) commit(r *lines.Request) (any, error) {
	c, err := d.consumers.Get("consumer", r.Consumer)
	if err != nil {
		return nil, err
	}
	return lines.Nothing{}, c.commit()
}

func (d *driver) closeConsumer(r *lines.Request) (any, error) {
	c, err := d.consumers.Get("consumer", r.Consumer)
	if err != nil {
		return nil, err
	}
	delete(d.consumers, r.Consumer)
	c.close()
	return lines.Nothing{}, nil
}
