package main

import (
	"github.com/IBM/sarama"

	"kbroker/compat/clients/lines"
)

// assignedConsumer reads partitions without a group.
type assignedConsumer struct {
	client   sarama.Client
	consumer sarama.Consumer
	readers  map[lines.TopicPartition]*reader
	messages chan *sarama.ConsumerMessage
	history  lines.Rebalances
}

// reader hands on what one partition has until it is stopped.
type reader struct {
	partition  sarama.PartitionConsumer
	stop, done chan struct{}
}

func newAssignedConsumer(r *lines.Request, config *sarama.Config) (consumer, error) {
	client, err := sarama.NewClient(r.Brokers(), config)
	if err != nil {
		return nil, err
	}
	inner, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, err
	}
	c := &assignedConsumer{
		client: client, consumer: inner,
		readers: map[lines.TopicPartition]*reader{}, messages: make(chan *sarama.ConsumerMessage),
	}
	assigned := map[string][]int32{}
	for _, place := range r.Assign {
		assigned[place.Topic] = append(assigned[place.Topic], place.Partition)
		if err := c.read(place.Topic, place.Partition, place.Offset); err != nil {
			c.close()
			return nil, err
		}
	}
	c.history.Assigned(assigned)
	return c, nil
}

// read begins at offset; the library's numbers for earliest and latest are the protocol's.
func (c *assignedConsumer) read(topic string, partition int32, offset int64) error {
	inner, err := c.consumer.ConsumePartition(topic, partition, offset)
	if err != nil {
		return err
	}
	made := &reader{inner, make(chan struct{}), make(chan struct{})}
	c.readers[lines.TopicPartition{Topic: topic, Partition: partition}] = made
	go func() {
		defer close(made.done)
		for message := range inner.Messages() {
			select {
			case c.messages <- message:
			case <-made.stop:
			}
		}
	}()
	return nil
}

// end returns once nothing more will come.
func (r *reader) end() {
	close(r.stop)
	r.partition.AsyncClose()
	<-r.done
}

func (c *assignedConsumer) seekToTime(topic string, partition int32, timestampMS int64) (int64, error) {
	offset, err := c.client.GetOffset(topic, partition, timestampMS)
	if err != nil {
		return 0, err
	}
	// A partition's consumer cannot move: another one begins at the new place.
	if old, found := c.readers[lines.TopicPartition{Topic: topic, Partition: partition}]; found {
		old.end()
	}
	return offset, c.read(topic, partition, offset)
}

func (c *assignedConsumer) records() <-chan *sarama.ConsumerMessage { return c.messages }
func (c *assignedConsumer) held() []lines.TopicPartition            { return c.history.Held() }
func (c *assignedConsumer) returned(*sarama.ConsumerMessage)        {}

func (c *assignedConsumer) commit() error {
	return &lines.Error{Name: "BadRequest", Message: "the consumer is in no group"}
}

func (c *assignedConsumer) close() {
	for _, reader := range c.readers {
		reader.end()
	}
	_ = c.consumer.Close()
	_ = c.client.Close()
}
