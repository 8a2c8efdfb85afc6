package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"kbroker/compat/clients/lines"
)

// producer is a client that produces. A transactional one is made at its first transaction, or earlier with the
// consumer whose offsets it commits: in this library the two are one object, a GroupTransactSession.
type producer struct {
	options []kgo.Opt
	acks    string
	// transactional ones wait with their client; see openSession.
	transactional bool
	client        *kgo.Client
	session       *kgo.GroupTransactSession
}

func (p *producer) open() error {
	if p.client != nil {
		return nil
	}
	client, err := kgo.NewClient(p.options...)
	p.client = client
	return err
}

// close ends the client; the half that is left of a session opens another when it is used again.
func (p *producer) close() {
	if p.session != nil {
		p.session.Close()
	} else if p.client != nil {
		p.client.Close()
	}
	p.session, p.client = nil, nil
}

// waitingProducer is a transactional producer without a client yet.
func (d *driver) waitingProducer() *producer {
	for _, p := range d.producers {
		if p.transactional && p.client == nil {
			return p
		}
	}
	return nil
}

func (d *driver) newProducer(r *lines.Request) (any, error) {
	p := &producer{acks: r.Acks, options: []kgo.Opt{
		kgo.SeedBrokers(r.Brokers()...),
		kgo.RecordPartitioner(pinning{kgo.StickyKeyPartitioner(nil)}),
	}}
	switch r.Acks {
	case "1":
		p.options = append(p.options, kgo.RequiredAcks(kgo.LeaderAck()))
	case "0":
		p.options = append(p.options, kgo.RequiredAcks(kgo.NoAck()))
	}
	// The library's own default is idempotent, which it allows with all acknowledgements only.
	if (r.Idempotent != nil && !*r.Idempotent && r.TransactionalID == "") || r.Acks == "1" || r.Acks == "0" {
		p.options = append(p.options, kgo.DisableIdempotentWrite())
	}
	codec, found := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[r.Compression]
	if found {
		p.options = append(p.options, kgo.ProducerBatchCompression(codec))
	}
	if r.RequestBytesMax != 0 {
		p.options = append(p.options, kgo.ProducerBatchMaxBytes(r.RequestBytesMax))
	}
	d.producers[r.Name] = p
	if r.TransactionalID != "" {
		p.transactional = true
		p.options = append(p.options, kgo.TransactionalID(r.TransactionalID))
		return lines.Nothing{}, nil
	}
	return lines.Nothing{}, p.open()
}

func (d *driver) send(r *lines.Request) (any, error) {
	p, err := d.producers.Get("producer", r.Producer)
	if err != nil {
		return nil, err
	}
	if err := p.open(); err != nil {
		return nil, err
	}
	records := []*kgo.Record{}
	for _, given := range r.Records {
		record := &kgo.Record{Topic: given.Topic, Key: given.Key, Value: given.Value, Partition: anyPartition}
		if given.Partition != nil {
			record.Partition = *given.Partition
		}
		if given.TimestampMS != nil {
			record.Timestamp = time.UnixMilli(*given.TimestampMS)
		}
		for _, header := range given.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
		}
		records = append(records, record)
	}
	if err := p.client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		return nil, err
	}
	sent := []lines.Sent{}
	for _, record := range records {
		offset := record.Offset
		if p.acks == "0" {
			offset = lines.Unknown
		}
		sent = append(sent, lines.Sent{Partition: record.Partition, Offset: offset})
	}
	return sent, nil
}

func (d *driver) begin(r *lines.Request) (any, error) {
	p, err := d.producers.Get("producer", r.Producer)
	if err != nil {
		return nil, err
	}
	if err := p.open(); err != nil {
		return nil, err
	}
	if p.session != nil {
		return lines.Nothing{}, p.session.Begin()
	}
	return lines.Nothing{}, p.client.BeginTransaction()
}

func (d *driver) commitTransaction(r *lines.Request) (any, error) {
	p, err := d.producers.Get("producer", r.Producer)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	if p.session != nil {
		committed, err := p.session.End(ctx, kgo.TryCommit)
		if err == nil && !committed {
			err = &lines.Error{Name: "Aborted", Message: "the group rebalanced, and the session aborted"}
		}
		return lines.Nothing{}, err
	}
	if err := p.client.Flush(ctx); err != nil {
		return nil, err
	}
	return lines.Nothing{}, p.client.EndTransaction(ctx, kgo.TryCommit)
}

func (d *driver) abort(r *lines.Request) (any, error) {
	p, err := d.producers.Get("producer", r.Producer)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	if p.session != nil {
		_, err := p.session.End(ctx, kgo.TryAbort)
		return lines.Nothing{}, err
	}
	if err := p.client.AbortBufferedRecords(ctx); err != nil {
		return nil, err
	}
	return lines.Nothing{}, p.client.EndTransaction(ctx, kgo.TryAbort)
}

// sendOffsets has nothing to send: the session commits what was polled when the transaction ends. It holds the
// request to that.
func (d *driver) sendOffsets(r *lines.Request) (any, error) {
	p, err := d.producers.Get("producer", r.Producer)
	if err != nil {
		return nil, err
	}
	c, err := d.consumers.Get("consumer", r.Consumer)
	if err != nil {
		return nil, err
	}
	if p.session == nil || p.client != c.client {
		return nil, &lines.Error{Name: "BadRequest", Message: "the consumer was not made with this producer"}
	}
	polled := p.client.UncommittedOffsets()
	for _, wanted := range r.Offsets {
		if held := polled[wanted.Topic][wanted.Partition].Offset; held != wanted.Offset {
			message := fmt.Sprintf("%s-%d is at %d, not at %d", wanted.Topic, wanted.Partition, held, wanted.Offset)
			return nil, &lines.Error{Name: "BadRequest", Message: message}
		}
	}
	return lines.Nothing{}, nil
}

func (d *driver) closeProducer(r *lines.Request) (any, error) {
	p, err := d.producers.Get("producer", r.Producer)
	if err != nil {
		return nil, err
	}
	delete(d.producers, r.Producer)
	p.close()
	return lines.Nothing{}, nil
}

const anyPartition = -1

// pinning takes the partition that a record names, and leaves the others to the library.
type pinning struct{ others kgo.Partitioner }

func (p pinning) ForTopic(topic string) kgo.TopicPartitioner {
	return pinningTopic{p.others.ForTopic(topic)}
}

type pinningTopic struct{ kgo.TopicPartitioner }

func (p pinningTopic) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition != anyPartition || p.TopicPartitioner.RequiresConsistency(r)
}

// OnNewBatch passes on what makes the library move to another partition.
func (p pinningTopic) OnNewBatch() {
	if others, ok := p.TopicPartitioner.(kgo.TopicPartitionerOnNewBatch); ok {
		others.OnNewBatch()
	}
}

func (p pinningTopic) Partition(r *kgo.Record, n int) int {
	if r.Partition != anyPartition {
		return int(r.Partition)
	}
	return p.TopicPartitioner.Partition(r, n)
}
