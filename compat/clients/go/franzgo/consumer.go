package main

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"kbroker/compat/clients/lines"
)

type consumer struct {
	client     *kgo.Client
	rebalances *lines.Rebalances
	// producer is the other half of a session.
	producer *producer
}

func (d *driver) newConsumer(r *lines.Request) (any, error) {
	c := &consumer{rebalances: &lines.Rebalances{}}
	options := []kgo.Opt{kgo.SeedBrokers(r.Brokers()...)}
	if r.Isolation == "read_committed" {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if r.FetchBytesMax != 0 {
		options = append(options, kgo.FetchMaxBytes(r.FetchBytesMax), kgo.FetchMaxPartitionBytes(r.FetchBytesMax))
	}
	if r.Group != "" {
		options = append(options, c.groupOptions(r)...)
	} else {
		options = append(options, kgo.ConsumePartitions(c.places(r.Assign)))
	}
	d.consumers[r.Name] = c
	if p := d.waitingProducer(); p != nil && r.Group != "" {
		return lines.Nothing{}, d.openSession(p, c, options)
	}
	client, err := kgo.NewClient(options...)
	c.client = client
	return lines.Nothing{}, err
}

func (c *consumer) groupOptions(r *lines.Request) []kgo.Opt {
	options := []kgo.Opt{
		kgo.ConsumerGroup(r.Group),
		kgo.ConsumeTopics(r.Topics...),
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			c.rebalances.Assigned(partitions)
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			c.rebalances.Revoked(partitions)
		}),
	}
	switch r.Assignor {
	case "eager":
		options = append(options, kgo.Balancers(kgo.RangeBalancer()))
	case "cooperative":
		options = append(options, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	}
	if r.SessionTimeoutMS != 0 {
		options = append(options, kgo.SessionTimeout(r.SessionTimeout()))
	}
	if r.HeartbeatIntervalMS != 0 {
		options = append(options, kgo.HeartbeatInterval(r.HeartbeatInterval()))
	}
	if r.InstanceID != "" {
		options = append(options, kgo.InstanceID(r.InstanceID))
	}
	return options
}

func (c *consumer) places(assign []lines.Offset) map[string]map[int32]kgo.Offset {
	places := map[string]map[int32]kgo.Offset{}
	assigned := map[string][]int32{}
	for _, place := range assign {
		if places[place.Topic] == nil {
			places[place.Topic] = map[int32]kgo.Offset{}
		}
		offset := kgo.NewOffset().At(place.Offset)
		if place.Offset == lines.Earliest {
			offset = kgo.NewOffset().AtStart()
		} else if place.Offset == lines.Latest {
			offset = kgo.NewOffset().AtEnd()
		}
		places[place.Topic][place.Partition] = offset
		assigned[place.Topic] = append(assigned[place.Topic], place.Partition)
	}
	c.rebalances.Assigned(assigned)
	return places
}

// openSession makes consumer and producer one client, as this library has it for exactly-once: a member that is made
// while a transactional producer has not begun yet is a member for that producer's transactions.
func (d *driver) openSession(p *producer, c *consumer, options []kgo.Opt) error {
	session, err := kgo.NewGroupTransactSession(append(options, p.options...)...)
	if err != nil {
		return err
	}
	p.session, p.client, c.client, c.producer = session, session.Client(), session.Client(), p
	return nil
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
		fetches := c.client.PollRecords(ctx, r.Count-len(records))
		fetches.EachError(func(topic string, partition int32, err error) {
			if !errors.Is(err, context.DeadlineExceeded) {
				lines.Say("%s-%d: %v", topic, partition, err)
			}
		})
		fetches.EachRecord(func(record *kgo.Record) { records = append(records, consumed(record)) })
	}
	return lines.Polled{Records: records, Assignment: c.rebalances.Held()}, nil
}

func consumed(record *kgo.Record) lines.Consumed {
	headers := []lines.Header{}
	for _, header := range record.Headers {
		headers = append(headers, lines.Header{Name: header.Key, Value: header.Value})
	}
	return lines.Consumed{
		Topic: record.Topic, Partition: record.Partition, Offset: record.Offset, Key: record.Key, Value: record.Value,
		Headers: headers, TimestampMS: record.Timestamp.UnixMilli(),
	}
}

func (d *driver) seekToTime(r *lines.Request) (any, error) {
	c, err := d.consumers.Get("consumer", r.Consumer)
	if err != nil {
		return nil, err
	}
	listed, err := kadm.NewClient(c.client).ListOffsetsAfterMilli(context.Background(), r.TimestampMS, r.Topic)
	if err != nil {
		return nil, err
	}
	found, known := listed.Lookup(r.Topic, r.Partition)
	if !known {
		return nil, &lines.Error{Name: "UNKNOWN_TOPIC_OR_PARTITION", Message: "the partition is not listed"}
	} else if found.Err != nil {
		return nil, found.Err
	}
	// Where there is no such record the library lists the end, without a timestamp.
	c.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{
		r.Topic: {r.Partition: {Epoch: -1, Offset: found.Offset}},
	})
	offset := found.Offset
	if found.Timestamp == -1 {
		offset = lines.Unknown
	}
	return map[string]int64{"offset": offset}, nil
}

func (d *driver) commit(r *lines.Request) (any, error) {
	c, err := d.consumers.Get("consumer", r.Consumer)
	if err != nil {
		return nil, err
	}
	return lines.Nothing{}, c.client.CommitUncommittedOffsets(context.Background())
}

func (d *driver) rebalances(r *lines.Request) (any, error) {
	c, err := d.consumers.Get("consumer", r.Consumer)
	if err != nil {
		return nil, err
	}
	return c.rebalances.Answer(), nil
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

func (c *consumer) close() {
	if c.producer != nil {
		c.producer.close()
	} else {
		c.client.Close()
	}
}
