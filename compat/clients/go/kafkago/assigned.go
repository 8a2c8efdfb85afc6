package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"kbroker/compat/clients/lines"
)

// assignedConsumer has a Reader for every partition: one reads one.
type assignedConsumer struct {
	config   kafka.ReaderConfig
	order    []lines.TopicPartition
	readers  map[lines.TopicPartition]*pump
	messages chan kafka.Message
}

// pump hands on what one Reader has until it is stopped.
type pump struct {
	reader *kafka.Reader
	stop   context.CancelFunc
	done   sync.WaitGroup
}

func newAssignedConsumer(r *lines.Request, config kafka.ReaderConfig) (consumer, error) {
	c := &assignedConsumer{
		config: config, readers: map[lines.TopicPartition]*pump{}, messages: make(chan kafka.Message),
	}
	for _, place := range r.Assign {
		config.Topic, config.Partition = place.Topic, int(place.Partition)
		reader := kafka.NewReader(config)
		// The library's numbers for the first and the last offset are the protocol's.
		if err := reader.SetOffset(place.Offset); err != nil {
			return nil, errors.Join(err, reader.Close(), c.close())
		}
		key := lines.TopicPartition{Topic: place.Topic, Partition: place.Partition}
		c.order = append(c.order, key)
		c.readers[key] = &pump{reader: reader}
		c.start(c.readers[key])
	}
	return c, nil
}

func (c *assignedConsumer) start(p *pump) {
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.done.Go(func() {
		for ctx.Err() == nil {
			message, err := p.reader.FetchMessage(ctx)
			if errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				if ctx.Err() == nil {
					lines.Say("%v", err)
				}
				continue
			}
			select {
			case c.messages <- message:
			case <-ctx.Done():
			}
		}
	})
}

func (c *assignedConsumer) next(ctx context.Context) (kafka.Message, error) {
	select {
	case message := <-c.messages:
		return message, nil
	case <-ctx.Done():
		return kafka.Message{}, ctx.Err()
	}
}

func (c *assignedConsumer) held() ([]lines.TopicPartition, error) { return c.order, nil }

func (c *assignedConsumer) seekToTime(topic string, partition int32, at time.Time) (int64, error) {
	p, found := c.readers[lines.TopicPartition{Topic: topic, Partition: partition}]
	if !found {
		return 0, &lines.Error{Name: "BadRequest", Message: fmt.Sprintf("%s-%d is not assigned", topic, partition)}
	}
	p.stop()
	p.done.Wait()
	defer c.start(p)
	if err := p.reader.SetOffsetAt(context.Background(), at); err != nil {
		return 0, err
	}
	return p.reader.Offset(), nil
}

func (c *assignedConsumer) commit() error {
	return &lines.Error{Name: "BadRequest", Message: "the consumer is in no group"}
}

func (c *assignedConsumer) close() error {
	var errs []error
	for _, p := range c.readers {
		p.stop()
		p.done.Wait()
		errs = append(errs, p.reader.Close())
	}
	return errors.Join(errs...)
}
