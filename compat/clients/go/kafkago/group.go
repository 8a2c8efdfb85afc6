package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/segmentio/kafka-go"

	"kbroker/compat/clients/lines"
)

const describeTimeout = 5 * time.Second

// groupConsumer is a Reader in a group.
type groupConsumer struct {
	reader   *kafka.Reader
	admin    *kafka.Client
	clientID string
	group    string
	// last is what polls have returned last of each partition, for the next commit.
	last map[lines.TopicPartition]kafka.Message
}

var made int

func newGroupConsumer(r *lines.Request, config kafka.ReaderConfig) consumer {
	made++
	c := &groupConsumer{
		admin:    &kafka.Client{Addr: kafka.TCP(r.Brokers()...), Timeout: describeTimeout},
		clientID: fmt.Sprintf("kafka-go-%d-%d", os.Getpid(), made),
		group:    r.Group,
		last:     map[lines.TopicPartition]kafka.Message{},
	}
	config.GroupID = r.Group
	config.GroupTopics = r.Topics
	config.SessionTimeout = r.SessionTimeout()
	config.HeartbeatInterval = r.HeartbeatInterval()
	config.Dialer = &kafka.Dialer{ClientID: c.clientID, Timeout: 10 * time.Second, DualStack: true}
	c.reader = kafka.NewReader(config)
	return c
}

func (c *groupConsumer) next(ctx context.Context) (kafka.Message, error) {
	message, err := c.reader.FetchMessage(ctx)
	if err == nil {
		c.last[lines.TopicPartition{Topic: message.Topic, Partition: int32(message.Partition)}] = message
	}
	return message, err
}

// held asks the coordinator, for the Reader does not tell: the member is the one with this consumer's client id.
func (c *groupConsumer) held() ([]lines.TopicPartition, error) {
	held := []lines.TopicPartition{}
	described, err := c.admin.DescribeGroups(
		context.Background(), &kafka.DescribeGroupsRequest{GroupIDs: []string{c.group}},
	)
	if err != nil {
		return held, err
	}
	for _, group := range described.Groups {
		if group.Error != nil {
			return held, group.Error
		}
		for _, member := range group.Members {
			if member.ClientID != c.clientID {
				continue
			}
			for _, topic := range member.MemberAssignments.Topics {
				for _, partition := range topic.Partitions {
					held = append(held, lines.TopicPartition{Topic: topic.Topic, Partition: int32(partition)})
				}
			}
		}
	}
	return held, nil
}

func (c *groupConsumer) commit() error {
	messages := []kafka.Message{}
	for _, message := range c.last {
		messages = append(messages, message)
	}
	err := c.reader.CommitMessages(context.Background(), messages...)
	if err == nil {
		clear(c.last)
	}
	return err
}

func (c *groupConsumer) seekToTime(string, int32, time.Time) (int64, error) {
	return 0, &lines.Error{Name: "NotSupported", Message: "members of a group cannot seek by time"}
}

func (c *groupConsumer) close() error { return c.reader.Close() }
