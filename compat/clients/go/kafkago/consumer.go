package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/segmentio/kafka-go"

	"kbroker/compat/clients/lines"
)

// consumer is a Reader in a group, or several without one.
type consumer interface {
	// next waits for one message.
	next(ctx context.Context) (kafka.Message, error)
	held() ([]lines.TopicPartition, error)
	seekToTime(topic string, partition int32, at time.Time) (int64, error)
	commit() error
	close() error
}

func (d *driver) newConsumer(r *lines.Request) (any, error) {
	config := kafka.ReaderConfig{Brokers: r.Brokers(), MaxBytes: int(r.FetchBytesMax)}
	if r.Isolation == "read_committed" {
		config.IsolationLevel = kafka.ReadCommitted
	}
	config.ErrorLogger = kafka.LoggerFunc(lines.Say)
	if r.Group != "" {
		d.consumers[r.Name] = newGroupConsumer(r, config)
		return lines.Nothing{}, nil
	}
	made, err := newAssignedConsumer(r, config)
	if err == nil {
		d.consumers[r.Name] = made
	}
	return lines.Nothing{}, err
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
		message, err := c.next(ctx)
		switch {
		case err == nil:
			records = append(records, consumed(message))
		case errors.Is(err, io.EOF):
			return nil, err
		case ctx.Err() == nil:
			lines.Say("%v", err)
		}
	}
	assignment, err := c.held()
	if err != nil {
		lines.Say("assignment: %v", err)
	}
	return lines.Polled{Records: records, Assignment: assignment}, nil
}

func consumed(message kafka.Message) lines.Consumed {
	headers := []lines.Header{}
	for _, header := range message.Headers {
		// The library reads an empty value as nil, and has no other word for one that is null.
		headers = append(headers, lines.Header{Name: header.Key, Value: append([]byte{}, header.Value...)})
	}
	return lines.Consumed{
		Topic: message.Topic, Partition: int32(message.Partition), Offset: message.Offset, Key: message.Key,
		Value: message.Value, Headers: headers, TimestampMS: message.Time.UnixMilli(),
	}
}

func (d *driver) seekToTime(r *lines.Request) (any, error) {
	c, err := d.consumers.Get("consumer", r.Consumer)
	if err != nil {
		return nil, err
	}
	offset, err := c.seekToTime(r.Topic, r.Partition, time.UnixMilli(r.TimestampMS))
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
	return lines.Nothing{}, c.close()
}
