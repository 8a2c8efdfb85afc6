package main

import (
	"context"
	"time"

	"github.com/segmentio/kafka-go"

	"kbroker/compat/clients/lines"
)

// batchTimeout is how long a write waits for more; the library's own second is for programs that write all the time.
const batchTimeout = 10 * time.Millisecond

type producer struct {
	writer *kafka.Writer
	acks   string
}

// errand travels with a message: where it should go, and where it went.
type errand struct {
	partition *int32
	sent      lines.Sent
}

func (d *driver) newProducer(r *lines.Request) (any, error) {
	writer := &kafka.Writer{
		Addr:         kafka.TCP(r.Brokers()...),
		BatchTimeout: batchTimeout,
		BatchBytes:   int64(r.RequestBytesMax),
		Balancer:     pinning(&kafka.Hash{}),
		RequiredAcks: map[string]kafka.RequiredAcks{
			"0": kafka.RequireNone, "1": kafka.RequireOne, "all": kafka.RequireAll,
		}[r.Acks],
		Compression: map[string]kafka.Compression{
			"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
		}[r.Compression],
		Completion: func(messages []kafka.Message, err error) {
			if err != nil {
				return
			}
			for _, message := range messages {
				message.WriterData.(*errand).sent = lines.Sent{
					Partition: int32(message.Partition), Offset: message.Offset,
				}
			}
		},
		Transport: &kafka.Transport{},
	}
	d.producers[r.Name] = &producer{writer, r.Acks}
	return lines.Nothing{}, nil
}

func (d *driver) send(r *lines.Request) (any, error) {
	p, err := d.producers.Get("producer", r.Producer)
	if err != nil {
		return nil, err
	}
	messages := []kafka.Message{}
	for _, given := range r.Records {
		message := kafka.Message{
			Topic: given.Topic, Key: given.Key, Value: given.Value,
			WriterData: &errand{partition: given.Partition},
		}
		if given.TimestampMS != nil {
			message.Time = time.UnixMilli(*given.TimestampMS)
		}
		for _, header := range given.Headers {
			message.Headers = append(message.Headers, kafka.Header{Key: header.Name, Value: header.Value})
		}
		messages = append(messages, message)
	}
	if err := p.writer.WriteMessages(context.Background(), messages...); err != nil {
		return nil, err
	}
	sent := []lines.Sent{}
	for _, message := range messages {
		one := message.WriterData.(*errand).sent
		if p.acks == "0" {
			one.Offset = lines.Unknown
		}
		sent = append(sent, one)
	}
	return sent, nil
}

func (p *producer) close() error { return p.writer.Close() }

func (d *driver) closeProducer(r *lines.Request) (any, error) {
	p, err := d.producers.Get("producer", r.Producer)
	if err != nil {
		return nil, err
	}
	delete(d.producers, r.Producer)
	return lines.Nothing{}, p.close()
}

// pinning takes the partition that a message's errand names, and leaves the others to the library.
func pinning(others kafka.Balancer) kafka.Balancer {
	return kafka.BalancerFunc(func(message kafka.Message, partitions ...int) int {
		if wanted := message.WriterData.(*errand).partition; wanted != nil {
			return int(*wanted)
		}
		return others.Balance(message, partitions...)
	})
}
