package main

import (
	"time"

	"github.com/IBM/sarama"

	"kbroker/compat/clients/lines"
)

type producer struct {
	sarama.SyncProducer
	acks string
}

func (d *driver) newProducer(r *lines.Request) (any, error) {
	config := settings()
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = newPinning
	config.Producer.RequiredAcks = map[string]sarama.RequiredAcks{
		"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll,
	}[r.Acks]
	config.Producer.Compression = map[string]sarama.CompressionCodec{
		"gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
		"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}[r.Compression]
	if r.RequestBytesMax != 0 {
		config.Producer.MaxMessageBytes = int(r.RequestBytesMax)
	}
	config.Producer.Transaction.ID = r.TransactionalID
	if r.TransactionalID != "" || (r.Idempotent != nil && *r.Idempotent) {
		config.Producer.Idempotent = true
		config.Producer.RequiredAcks = sarama.WaitForAll
		config.Net.MaxOpenRequests = 1
	}
	made, err := sarama.NewSyncProducer(r.Brokers(), config)
	if err != nil {
		return nil, err
	}
	d.producers[r.Name] = &producer{made, r.Acks}
	return lines.Nothing{}, nil
}

func (d *driver) send(r *lines.Request) (any, error) {
	p, err := d.producers.Get("producer", r.Producer)
	if err != nil {
		return nil, err
	}
	messages := []*sarama.ProducerMessage{}
	for _, given := range r.Records {
		messages = append(messages, messageOf(given))
	}
	if err := p.SendMessages(messages); err != nil {
		return nil, err
	}
	sent := []lines.Sent{}
	for _, message := range messages {
		offset := message.Offset
		if p.acks == "0" {
			offset = lines.Unknown
		}
		sent = append(sent, lines.Sent{Partition: message.Partition, Offset: offset})
	}
	return sent, nil
}

func messageOf(given lines.Record) *sarama.ProducerMessage {
	message := &sarama.ProducerMessage{Topic: given.Topic, Metadata: given.Partition}
	// An encoder of nil bytes would write an empty key or value where there is none.
	if given.Key != nil {
		message.Key = sarama.ByteEncoder(given.Key)
	}
	if given.Value != nil {
		message.Value = sarama.ByteEncoder(given.Value)
	}
	if given.TimestampMS != nil {
		message.Timestamp = time.UnixMilli(*given.TimestampMS)
	}
	for _, header := range given.Headers {
		message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value})
	}
	return message
}

func (d *driver) begin(r *lines.Request) (any, error) {
	p, err := d.producers.Get("producer", r.Producer)
	if err != nil {
		return nil, err
	}
	return lines.Nothing{}, p.BeginTxn()
}

func (d *driver) commitTransaction(r *lines.Request) (any, error) {
	p, err := d.producers.Get("producer", r.Producer)
	if err != nil {
		return nil, err
	}
	return lines.Nothing{}, p.CommitTxn()
}

func (d *driver) abort(r *lines.Request) (any, error) {
	p, err := d.producers.Get("producer", r.Producer)
	if err != nil {
		return nil, err
	}
	return lines.Nothing{}, p.AbortTxn()
}

func (d *driver) sendOffsets(r *lines.Request) (any, error) {
	p, err := d.producers.Get("producer", r.Producer)
	if err != nil {
		return nil, err
	}
	c, err := d.consumers.Get("consumer", r.Consumer)
	if err != nil {
		return nil, err
	}
	member, ok := c.(*groupConsumer)
	if !ok {
		return nil, &lines.Error{Name: "BadRequest", Message: "the consumer is in no group"}
	}
	metadata, err := member.metadata()
	if err != nil {
		return nil, err
	}
	offsets := map[string][]*sarama.PartitionOffsetMetadata{}
	for _, place := range r.Offsets {
		offsets[place.Topic] = append(offsets[place.Topic], &sarama.PartitionOffsetMetadata{
			Partition: place.Partition, Offset: place.Offset, LeaderEpoch: -1,
		})
	}
	return lines.Nothing{}, p.AddOffsetsToTxnWithGroupMetadata(offsets, metadata)
}

func (d *driver) closeProducer(r *lines.Request) (any, error) {
	p, err := d.producers.Get("producer", r.Producer)
	if err != nil {
		return nil, err
	}
	delete(d.producers, r.Producer)
	return lines.Nothing{}, p.Close()
}

// pinning takes the partition that a message's metadata names, and leaves the others to the library.
type pinning struct{ sarama.Partitioner }

func newPinning(topic string) sarama.Partitioner { return pinning{sarama.NewHashPartitioner(topic)} }

func (p pinning) Partition(message *sarama.ProducerMessage, count int32) (int32, error) {
	if wanted, ok := message.Metadata.(*int32); ok && wanted != nil {
		return *wanted, nil
	}
	return p.Partitioner.Partition(message, count)
}

func (p pinning) MessageRequiresConsistency(message *sarama.ProducerMessage) bool {
	if wanted, ok := message.Metadata.(*int32); ok && wanted != nil {
		return true
	}
	return p.Partitioner.(sarama.DynamicConsistencyPartitioner).MessageRequiresConsistency(message)
}
