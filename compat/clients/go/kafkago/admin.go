package main

import (
	"context"
	"time"

	"github.com/segmentio/kafka-go"

	"kbroker/compat/clients/lines"
)

const adminTimeout = 30 * time.Second

func admin(r *lines.Request) *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(r.Brokers()...), Timeout: adminTimeout}
}

func createTopic(r *lines.Request) (any, error) {
	topic := kafka.TopicConfig{
		Topic: r.Topic, NumPartitions: int(r.Partitions), ReplicationFactor: int(r.ReplicationFactor),
	}
	for name, value := range r.Config {
		topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	request := &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}}
	response, err := admin(r).CreateTopics(context.Background(), request)
	if err != nil {
		return nil, err
	}
	return lines.Nothing{}, response.Errors[r.Topic]
}

func createPartitions(r *lines.Request) (any, error) {
	request := &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: r.Topic, Count: r.Partitions}},
	}
	response, err := admin(r).CreatePartitions(context.Background(), request)
	if err != nil {
		return nil, err
	}
	return lines.Nothing{}, response.Errors[r.Topic]
}

func listTopics(r *lines.Request) (any, error) {
	response, err := admin(r).Metadata(context.Background(), &kafka.MetadataRequest{})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, topic := range response.Topics {
		if !topic.Internal {
			names = append(names, topic.Name)
		}
	}
	return names, nil
}

func describeTopic(r *lines.Request) (any, error) {
	response, err := admin(r).Metadata(context.Background(), &kafka.MetadataRequest{Topics: []string{r.Topic}})
	if err != nil {
		return nil, err
	}
	states := []lines.PartitionState{}
	for _, topic := range response.Topics {
		if topic.Error != nil {
			return nil, topic.Error
		}
		for _, p := range topic.Partitions {
			states = append(states, lines.PartitionState{
				Partition: int32(p.ID), Leader: int32(p.Leader.ID), Replicas: ids(p.Replicas), InSync: ids(p.Isr),
			})
		}
	}
	return states, nil
}

func ids(brokers []kafka.Broker) []int32 {
	numbers := []int32{}
	for _, broker := range brokers {
		numbers = append(numbers, int32(broker.ID))
	}
	return numbers
}

func describeConfig(r *lines.Request) (any, error) {
	request := &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kafka.ResourceTypeTopic, ResourceName: r.Topic},
	}}
	response, err := admin(r).DescribeConfigs(context.Background(), request)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, resource := range response.Resources {
		if resource.Error != nil {
			return nil, resource.Error
		}
		for _, entry := range resource.ConfigEntries {
			values[entry.ConfigName] = entry.ConfigValue
		}
	}
	return values, nil
}

func alterConfig(r *lines.Request) (any, error) {
	resource := kafka.IncrementalAlterConfigsRequestResource{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: r.Topic,
	}
	for name, value := range r.Config {
		resource.Configs = append(resource.Configs, kafka.IncrementalAlterConfigsRequestConfig{
			Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet,
		})
	}
	request := &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{resource},
	}
	response, err := admin(r).IncrementalAlterConfigs(context.Background(), request)
	if err != nil {
		return nil, err
	}
	for _, altered := range response.Resources {
		if altered.Error != nil {
			return nil, altered.Error
		}
	}
	return lines.Nothing{}, nil
}

func deleteTopic(r *lines.Request) (any, error) {
	response, err := admin(r).DeleteTopics(context.Background(), &kafka.DeleteTopicsRequest{Topics: []string{r.Topic}})
	if err != nil {
		return nil, err
	}
	return lines.Nothing{}, response.Errors[r.Topic]
}

func listGroups(r *lines.Request) (any, error) {
	response, err := admin(r).ListGroups(context.Background(), &kafka.ListGroupsRequest{})
	if err == nil {
		err = response.Error
	}
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, group := range response.Groups {
		names = append(names, group.GroupID)
	}
	return names, nil
}

func deleteGroup(r *lines.Request) (any, error) {
	response, err := admin(r).DeleteGroups(context.Background(), &kafka.DeleteGroupsRequest{GroupIDs: []string{r.Group}})
	if err != nil {
		return nil, err
	}
	return lines.Nothing{}, response.Errors[r.Group]
}
