package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"kbroker/compat/clients/lines"
)

// groupConsumer is a member of a group: a loop around Consume, as the library's documentation has it.
type groupConsumer struct {
	group       sarama.ConsumerGroup
	name        string
	instanceID  *string
	cooperative bool
	messages    chan *sarama.ConsumerMessage
	history     lines.Rebalances
	stop        context.CancelFunc
	done        chan struct{}

	lock    sync.Mutex
	session sarama.ConsumerGroupSession
	// next is where each partition goes on after what polls have returned.
	next map[lines.TopicPartition]int64
}

func newGroupConsumer(r *lines.Request, config *sarama.Config) (consumer, error) {
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Return.Errors = true
	if r.Assignor == "cooperative" {
		config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{
			sarama.NewBalanceStrategyCooperativeSticky(),
		}
	}
	config.Consumer.Group.InstanceId = r.InstanceID
	if r.SessionTimeoutMS != 0 {
		config.Consumer.Group.Session.Timeout = r.SessionTimeout()
	}
	if r.HeartbeatIntervalMS != 0 {
		config.Consumer.Group.Heartbeat.Interval = r.HeartbeatInterval()
	}
	group, err := sarama.NewConsumerGroup(r.Brokers(), r.Group, config)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &groupConsumer{
		group: group, name: r.Group, cooperative: r.Assignor == "cooperative", stop: stop,
		messages: make(chan *sarama.ConsumerMessage), done: make(chan struct{}),
		next: map[lines.TopicPartition]int64{},
	}
	if r.InstanceID != "" {
		c.instanceID = &r.InstanceID
	}
	go func() {
		for err := range group.Errors() {
			lines.Say("group %s: %v", r.Group, err)
		}
	}()
	go c.run(ctx, r.Topics)
	return c, nil
}

func (c *groupConsumer) run(ctx context.Context, topics []string) {
	defer close(c.done)
	for ctx.Err() == nil {
		err := c.group.Consume(ctx, topics, c)
		if errors.Is(err, sarama.ErrClosedConsumerGroup) {
			return
		} else if err != nil && ctx.Err() == nil {
			lines.Say("group %s: %v", c.name, err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}
}

// Setup begins a session; eagerly, that is a new assignment.
func (c *groupConsumer) Setup(session sarama.ConsumerGroupSession) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.session = session
	if !c.cooperative {
		c.next = map[lines.TopicPartition]int64{}
		c.history.Assigned(session.Claims())
	}
	return nil
}

// Cleanup ends a session; eagerly, that gives everything away.
func (c *groupConsumer) Cleanup(session sarama.ConsumerGroupSession) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.session = nil
	if !c.cooperative {
		c.history.Revoked(session.Claims())
	}
	return nil
}

// ConsumeClaim hands on one partition's messages. It goes on reading while one waits for a poll, since the end of the
// messages is how the library says that the partition has been taken away.
func (c *groupConsumer) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	if c.cooperative {
		one := map[string][]int32{claim.Topic(): {claim.Partition()}}
		c.history.Assigned(one)
		defer c.forget(claim)
		defer c.history.Revoked(one)
	}
	waiting := []*sarama.ConsumerMessage{}
	for {
		var output chan *sarama.ConsumerMessage
		var first *sarama.ConsumerMessage
		if len(waiting) > 0 {
			output, first = c.messages, waiting[0]
		}
		select {
		case message, more := <-claim.Messages():
			if !more {
				return nil
			}
			waiting = append(waiting, message)
		case output <- first:
			waiting = waiting[1:]
		case <-session.Context().Done():
			return nil
		}
	}
}

func (c *groupConsumer) forget(claim sarama.ConsumerGroupClaim) {
	c.lock.Lock()
	defer c.lock.Unlock()
	delete(c.next, lines.TopicPartition{Topic: claim.Topic(), Partition: claim.Partition()})
}

func (c *groupConsumer) records() <-chan *sarama.ConsumerMessage { return c.messages }
func (c *groupConsumer) held() []lines.TopicPartition            { return c.history.Held() }

func (c *groupConsumer) returned(message *sarama.ConsumerMessage) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.next[lines.TopicPartition{Topic: message.Topic, Partition: message.Partition}] = message.Offset + 1
}

func (c *groupConsumer) commit() error {
	c.lock.Lock()
	session := c.session
	if session != nil {
		for partition, offset := range c.next {
			session.MarkOffset(partition.Topic, partition.Partition, offset, "")
		}
	}
	c.lock.Unlock()
	if session == nil {
		return &lines.Error{Name: "REBALANCE_IN_PROGRESS", Message: "there is no session to commit in"}
	}
	session.Commit()
	return nil
}

func (c *groupConsumer) metadata() (*sarama.ConsumerGroupMetadata, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.session == nil {
		return nil, &lines.Error{Name: "REBALANCE_IN_PROGRESS", Message: "there is no session to commit in"}
	}
	return &sarama.ConsumerGroupMetadata{
		GroupID: c.name, GenerationID: c.session.GenerationID(), MemberID: c.session.MemberID(),
		GroupInstanceID: c.instanceID,
	}, nil
}

func (c *groupConsumer) seekToTime(string, int32, int64) (int64, error) {
	return 0, &lines.Error{Name: "NotSupported", Message: "members of a group cannot seek by time"}
}

func (c *groupConsumer) close() {
	c.stop()
	<-c.done
	if err := c.group.Close(); err != nil {
		lines.Say("group %s: %v", c.name, err)
	}
}
